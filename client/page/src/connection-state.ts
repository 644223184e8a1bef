import type { State } from '../../src/index.js';

/** State of the connection as the page shows it. */
export type ConnectionState =
  /** `catching up` is the time between `welcome` and the end of the replay. */
  | { readonly status: 'connecting' | 'catching up' | 'open' }
  /** `until` is a time of `performance.now()`. */
  | { readonly status: 'waiting'; readonly until: number; readonly reason: string }
  /** `code` is the close code of the server or an error code of the client. */
  | { readonly status: 'closed'; readonly reason: string; readonly code: number | string };

/** Converts the state of the client. */
export function connectionState(state: State): ConnectionState {
  switch (state.status) {
    case 'connecting':
      return { status: 'connecting' };
    case 'open':
      return { status: 'catching up' };
    case 'waiting':
      return { status: 'waiting', until: performance.now() + state.retryInMs, reason: state.reason };
    case 'closed': {
      const { error } = state;
      const goodbye = error?.cause as { code?: number } | undefined;
      return { status: 'closed', reason: error?.message ?? '', code: goodbye?.code ?? error?.code ?? 'closed' };
    }
  }
}
