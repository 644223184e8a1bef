/** The key of the API: kept by the browser for this tab only. */

const NAME = 'dmwire.operations.key';

/** The key that was used in this tab before a reload. */
export function rememberedKey(): string | undefined {
  try {
    return sessionStorage.getItem(NAME) ?? undefined;
  } catch {
    return undefined;
  }
}

/** Without storage, the key lasts as long as the page. */
export function rememberKey(key: string | undefined): void {
  try {
    if (key === undefined) sessionStorage.removeItem(NAME);
    else sessionStorage.setItem(NAME, key);
  } catch {
    // The browser forbids storage.
  }
}

/** Whether a browser can send the key as a subprotocol: a token of HTTP (RFC 9110, section 5.6.2). */
export function isSendable(key: string): boolean {
  return /^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/.test(key);
}
