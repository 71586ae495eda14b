/** JSON-RPC to the extension host over the webview's postMessage, typed by the panel's protocol. */
import { AbstractMessageReader, AbstractMessageWriter, createMessageConnection, Emitter, ResponseError, type DataCallback, type Disposable, type Message } from 'vscode-jsonrpc/browser';
import type { ErrorReport } from '../src/protocol/engine';
import type { Calls, PanelNotifications, PanelRequests } from '../src/protocol/panel';

/** What VS Code gives a webview's script. */
export interface VsCodeApi {
  postMessage(message: unknown): void;
  getState(): unknown;
  setState(state: unknown): void;
}

class WindowReader extends AbstractMessageReader {
  private readonly received = new Emitter<Message>();

  constructor() {
    super();
    window.addEventListener('message', event => {
      if ((event.data as Message | undefined)?.jsonrpc === '2.0') this.received.fire(event.data);
    });
  }

  listen(callback: DataCallback): Disposable { return this.received.event(callback); }
}

class HostWriter extends AbstractMessageWriter {
  constructor(private readonly api: VsCodeApi) { super(); }
  async write(message: Message): Promise<void> { this.api.postMessage(message); }
  end(): void { /* The host closes the webview. */ }
}

export interface Connection<R extends Calls<R> = PanelRequests, N = PanelNotifications> {
  /** Asks the host. Rejects with an `ErrorReport`. */
  request<K extends keyof R & string>(method: K, params: R[K][0]): Promise<R[K][1]>;
  on<K extends keyof N & string>(method: K, handler: (params: N[K]) => void): void;
  /** Handlers must be set before. */
  listen(): void;
}

/** The connection of this webview to its host. */
export function connect<R extends Calls<R> = PanelRequests, N = PanelNotifications>(api: VsCodeApi): Connection<R, N> {
  const connection = createMessageConnection(new WindowReader(), new HostWriter(api));
  return {
    async request(method, params) {
      try {
        return await connection.sendRequest(method, params);
      } catch (error) {
        throw toReport(error);
      }
    },
    on: (method, handler) => void connection.onNotification(method, handler),
    listen: () => connection.listen(),
  };
}

function toReport(error: unknown): ErrorReport {
  const data = error instanceof ResponseError ? (error.data as Partial<ErrorReport> | undefined) : undefined;
  if (data?.cause && data.action) return data as ErrorReport;
  return { code: 'panel.request', cause: error instanceof Error ? error.message : String(error), action: 'see the LoRA Lab log' };
}
