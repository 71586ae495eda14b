/** One line on standard error that is written over while it changes; where that is no terminal, a line for every tenth. */
export class ProgressBar {
  #terminal = process.stderr.isTTY === true;
  #last = '';

  /** @param {number | null} fraction null while there is no telling */
  update(fraction, text) {
    const width = 30;
    const filled = Math.round(width * Math.min(1, fraction ?? 0));
    if (this.#terminal) {
      const line = `${fraction === null ? ' '.repeat(width) : '█'.repeat(filled) + '░'.repeat(width - filled)}  ${text}`;
      if (line !== this.#last) process.stderr.write(`\r\x1b[2K${line.slice(0, (process.stderr.columns ?? 80) - 1)}`);
      this.#last = line;
      return;
    }
    const key = fraction === null ? text : String(Math.floor(10 * fraction));
    if (key !== this.#last) process.stderr.write(`${fraction === null ? '' : `${String(Math.floor(100 * fraction)).padStart(3)} %  `}${text}\n`);
    this.#last = key;
  }

  end() {
    if (this.#terminal && this.#last) process.stderr.write('\n');
    this.#last = '';
  }
}
