/** A web server for pages of other origins. */

import { createServer, type Server as HttpServer } from 'node:http';
import type { AddressInfo } from 'node:net';

export class Site {
  readonly #http: HttpServer;

  private constructor(files: Record<string, string>) {
    this.#http = createServer(({ url }, response) => {
      const path = new URL(url ?? '/', 'http://site').pathname;
      const text = files[path];
      response.writeHead(text === undefined ? 204 : 200, {
        'content-type': path.endsWith('.js') ? 'text/javascript' : 'text/html',
      });
      response.end(text);
    });
  }

  /** @param files Content by path. */
  static async of(files: Record<string, string>): Promise<Site> {
    const site = new Site(files);
    await new Promise<void>(resolve => site.#http.listen(0, '127.0.0.1', resolve));
    return site;
  }

  /** Returns its origin for one of its host names. */
  origin(name = '127.0.0.1'): string {
    return `http://${name}:${(this.#http.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.#http.closeAllConnections();
    await new Promise(resolve => this.#http.close(resolve));
  }
}
