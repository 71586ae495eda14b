/** JSON-RPC over a webview's postMessage, typed by the panel's protocol. */
import type { Webview } from 'vscode';
import { AbstractMessageReader, AbstractMessageWriter, createMessageConnection, ResponseError, type DataCallback, type Disposable, type Message, type MessageConnection } from 'vscode-jsonrpc/node';
import type { Calls, PanelNotifications, PanelRequests } from '../protocol/panel';
import { toReport } from './reports';

class WebviewReader extends AbstractMessageReader {
  constructor(private readonly webview: Webview) { super(); }
  listen(callback: DataCallback): Disposable {
    return this.webview.onDidReceiveMessage((message: Message) => callback(message));
  }
}

class WebviewWriter extends AbstractMessageWriter {
  constructor(private readonly webview: Webview) { super(); }
  async write(message: Message): Promise<void> { await this.webview.postMessage(message); }
  end(): void { /* The panel closes the webview. */ }
}

export type PanelHandlers<R extends Calls<R> = PanelRequests> = { [K in keyof R]: (params: R[K][0]) => R[K][1] | Promise<R[K][1]> };

export class WebviewConnection<R extends Calls<R> = PanelRequests, N = PanelNotifications> {
  private readonly connection: MessageConnection;

  /** Answers every request of the panel. An error travels as its report. */
  constructor(webview: Webview, handlers: PanelHandlers<NoInfer<R>>) {
    this.connection = createMessageConnection(new WebviewReader(webview), new WebviewWriter(webview));
    for (const [method, handler] of Object.entries(handlers) as [string, (params: unknown) => unknown][]) {
      this.connection.onRequest(method, async (params: unknown) => {
        try {
          return await handler(params);
        } catch (error) {
          const report = toReport(error);
          throw new ResponseError(-32000, report.cause, report);
        }
      });
    }
    this.connection.listen();
  }

  notify<K extends keyof N & string>(method: K, params: N[K]): void {
    void this.connection.sendNotification(method, params).catch(() => undefined);
  }

  dispose(): void {
    this.connection.dispose();
  }
}
