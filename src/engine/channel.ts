/** JSON-RPC between the two threads of an engine process. */
import type { MessagePort, Worker } from 'node:worker_threads';
import { AbstractMessageReader, AbstractMessageWriter, createMessageConnection, type DataCallback, type Disposable, type Message, type MessageConnection } from 'vscode-jsonrpc/node';

class PortReader extends AbstractMessageReader {
  constructor(private readonly port: MessagePort | Worker) { super(); }
  listen(callback: DataCallback): Disposable {
    const listener = (message: Message): void => callback(message);
    this.port.on('message', listener);
    return { dispose: () => this.port.off('message', listener) };
  }
}

class PortWriter extends AbstractMessageWriter {
  constructor(private readonly port: MessagePort | Worker) { super(); }
  async write(message: Message): Promise<void> { this.port.postMessage(message); }
  end(): void { /* The thread ends with its process. */ }
}

export const threadConnection = (port: MessagePort | Worker): MessageConnection => createMessageConnection(new PortReader(port), new PortWriter(port));
