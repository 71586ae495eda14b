/** Dates in conversations: Python's, in English whatever the system's language is. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { loadChatTemplate } from '../../src/engine/data/chatTemplate';
import { momentOf, stamp, strftime } from '../../src/engine/data/strftime';
import { fixture } from '../support/paths';

interface Case { moment: [number, number, number, number, number, number, number]; texts: string[] }
const { formats, cases } = JSON.parse(readFileSync(fixture('strftime.json'), 'utf8')) as { formats: string[]; cases: Case[] };
const dateOf = ([year, month, day, hour, minute, second, microsecond]: Case['moment']): Date => new Date(year, month - 1, day, hour, minute, second, microsecond / 1000);

test('dates and times are written as Python writes them, and a moment is read again as it was kept', () => {
  for (const { moment, texts } of cases) {
    assert.deepEqual(formats.map(format => strftime(dateOf(moment), format)), texts);
    assert.equal(momentOf(stamp(dateOf(moment)))!.getTime(), dateOf(moment).getTime());
  }
});

test('a chat template writes the date of its moment in English, and says which directive it does not know', () => {
  const template = (chat_template: string) => loadChatTemplate(fixture('tokenizer'), { chat_template }, new Date(2026, 4, 6, 7, 8, 9));
  // As in Llama 3.2's, beside what else stands in a template.
  const source = "\n  {%- if strftime_now is defined %}{%- set date = strftime_now('%-d %b %Y') %}{%- endif %}\n{{ bos_token | default('') }}{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}: {{ date }} {{ strftime_now('%A %j') }}";
  assert.equal(template(source)([{ role: 'user', content: 'a' }], false), 'a: 6 May 2026 Wednesday 126');
  assert.deepEqual(template(source).marked!([{ role: 'user', content: 'a' }]), { text: 'a: 6 May 2026 Wednesday 126', places: [[0, 1]] });
  assert.equal(template('\n\nx  {% if true %}y{% endif %}\n')([], false), '\n\nx  y', 'what stands first stays as it is');
  assert.throws(() => template("{{ strftime_now('%Q') }}")([], false), /strftime_now does not know "%Q"/);
});
