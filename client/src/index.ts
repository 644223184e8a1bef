/** Client for dmwire. Start with {@link connect}. */
export { type Client, connect } from './client.js';
export { DmwireError, type LocalErrorCode } from './errors.js';
export type * from './frames.generated.js';
export { newId } from './ids.js';
export type * from './options.js';
export type { InFrame, OutboxRecord, OutFrame } from './outbox.js';
export type { State } from './state.js';
export type { Saved, Storage, StorageHandle } from './storage/storage.js';
export { type WebStorageApis, webStorage } from './storage/web.js';
export type { WebSocketClass, WebSocketLike } from './transport.js';

import type { OutboxRecord } from './outbox.js';
import type { StorageHandle } from './storage/storage.js';
import type { WebStorageApis } from './storage/web.js';

/** @deprecated Use {@link OutboxRecord}. */
export type Kept = OutboxRecord;
/** @deprecated Use {@link StorageHandle}. */
export type Hold = StorageHandle;
/** @deprecated Use {@link WebStorageApis}. */
export type WebParts = WebStorageApis;
