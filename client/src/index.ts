/** Client for dmwire. Begin with {@link connect}. */
export { type Client, connect } from './client.js';
export { DmwireError, type LocalErrorCode } from './errors.js';
export type * from './frames.generated.js';
export { newId } from './ids.js';
export type * from './options.js';
export type { InFrame, Kept, OutFrame } from './outbox.js';
export type { State } from './state.js';
export type { Hold, Saved, Storage } from './storage/storage.js';
export { type WebParts, webStorage } from './storage/web.js';
export type { WebSocketClass, WebSocketLike } from './transport.js';
