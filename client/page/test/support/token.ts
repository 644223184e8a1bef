/** Tokens as an application issues them (docs/protocol.md section 2). */

import { createHmac } from 'node:crypto';

export const SECRET = 'a secret for the tests of the page';

/** Returns a token that is valid for one hour. */
export function token(user: string): string {
  const part = (json: object) => Buffer.from(JSON.stringify(json)).toString('base64url');
  const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub: user, exp: Math.floor(Date.now() / 1000) + 3600 })}`;
  return `${text}.${createHmac('sha256', SECRET).update(text).digest('base64url')}`;
}
