/** An HTTP proxy on a loopback port that brings everything to one server, whatever host is asked for. */
import { createServer, request } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';

export interface Proxy {
  address: string;
  /** `CONNECT host:port` and `GET http://…`, with the name and password that came along. */
  asked: { line: string; authorization: string | undefined }[];
  close(): Promise<void>;
}

/** `refuse` answers tunnels with this status instead. `port` is that of the server behind it. */
export async function startProxy(port: number, refuse?: string): Promise<Proxy> {
  const asked: Proxy['asked'] = [];
  const sockets = new Set<Socket>();
  const server = createServer((incoming, response) => {
    asked.push({ line: `GET ${incoming.url}`, authorization: incoming.headers['proxy-authorization'] });
    const { pathname } = new URL(incoming.url!);
    request({ host: '127.0.0.1', port, path: pathname }, answer => { response.writeHead(answer.statusCode!, answer.headers); answer.pipe(response); }).end();
  });
  server.on('connection', socket => sockets.add(socket));
  server.on('connect', (incoming, socket: Socket) => {
    asked.push({ line: `CONNECT ${incoming.url}`, authorization: incoming.headers['proxy-authorization'] });
    if (refuse) return socket.end(`HTTP/1.1 ${refuse}\r\ncontent-length: 0\r\n\r\n`);
    const to = connect(port, '127.0.0.1', () => { socket.write('HTTP/1.1 200 Connection established\r\n\r\n'); to.pipe(socket).pipe(to); });
    sockets.add(to);
    for (const end of [to, socket]) end.on('error', () => { /* the other side went away */ });
  });
  await new Promise<void>(done => server.listen(0, '127.0.0.1', done));
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`, asked,
    close: () => new Promise(done => { for (const socket of sockets) socket.destroy(); server.close(() => done()); }),
  };
}
