/** Tokens as an application makes them (PROTOCOL section 2). */

import { createHmac } from 'node:crypto';

export const SECRET = 'a secret that nobody else can know';

/** A good token of a user, for an hour. */
export function token(user: string): string {
  const part = (json: object) => Buffer.from(JSON.stringify(json)).toString('base64url');
  const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub: user, exp: Math.floor(Date.now() / 1000) + 3600 })}`;
  return `${text}.${createHmac('sha256', SECRET).update(text).digest('base64url')}`;
}
