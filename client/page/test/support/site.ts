/** A web site beside the server: pages of other origins. */

import { createServer, type Server as HttpServer } from 'node:http';
import type { AddressInfo } from 'node:net';

export class Site {
  readonly #http: HttpServer;

  private constructor(files: Record<string, string>) {
    this.#http = createServer(({ url }, answer) => {
      const path = new URL(url ?? '/', 'http://site').pathname;
      const text = files[path];
      answer.writeHead(text === undefined ? 204 : 200, {
        'content-type': path.endsWith('.js') ? 'text/javascript' : 'text/html',
      });
      answer.end(text);
    });
  }

  /** @param files What it has, by path. */
  static async of(files: Record<string, string>): Promise<Site> {
    const site = new Site(files);
    await new Promise<void>(resolve => site.#http.listen(0, '127.0.0.1', resolve));
    return site;
  }

  /** Its origin, as one of the names that lead to it. */
  origin(name = '127.0.0.1'): string {
    return `http://${name}:${(this.#http.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.#http.closeAllConnections();
    await new Promise(resolve => this.#http.close(resolve));
  }
}
