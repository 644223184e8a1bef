/** The state of a call as a hook. */

import { createContext } from 'preact';
import { useContext, useEffect, useState } from 'preact/hooks';
import { CallError } from './api.js';

/** How often the page has connected again. Calls are made again then. */
export const Reconnects = createContext(0);

export interface Loaded<T> {
  /** The newest answer; absent until the first one. */
  readonly value: T | undefined;
  /** The error of the newest call, if it failed. */
  readonly error: CallError | undefined;
  readonly reload: () => void;
}

interface Result<T> {
  readonly id: string;
  readonly value: T | undefined;
  readonly error: CallError | undefined;
}

/**
 * Makes a call, and repeats it while the page is visible.
 *
 * @param id What is asked for. When it changes, the call is made again, and an earlier answer is forgotten.
 * @param interval The time between two calls in milliseconds; 0: the call is made once.
 */
export function useCall<T>(id: string, call: () => Promise<T>, interval = 0): Loaded<T> {
  const [result, setResult] = useState<Result<T>>();
  const [generation, setGeneration] = useState(0);
  const reconnects = useContext(Reconnects);
  useEffect(() => {
    let isCurrent = true;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let isDue = true;
    const run = async () => {
      isDue = false;
      let error: CallError | undefined;
      try {
        const value = await call();
        if (isCurrent) setResult({ id, value, error });
      } catch (thrown) {
        error = thrown instanceof CallError ? thrown : new CallError(0, 'internal', String(thrown));
        // The last answer stays visible, unless what it describes does not exist any more.
        const keeps = error.status !== 404;
        if (isCurrent)
          setResult(before => ({ id, value: keeps && before?.id === id ? before.value : undefined, error }));
      }
      if (!isCurrent || interval === 0 || error?.isUnsupported) return;
      timer = setTimeout(
        () => {
          isDue = true;
          if (!document.hidden) void run();
        },
        Math.max(interval, error?.retryAfterMs ?? 0),
      );
    };
    const onVisible = () => {
      if (isDue && !document.hidden) void run();
    };
    document.addEventListener('visibilitychange', onVisible);
    void run();
    return () => {
      isCurrent = false;
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', onVisible);
    };
  }, [id, generation, reconnects]);
  const current = result?.id === id ? result : undefined;
  return {
    value: current?.value,
    error: current?.error,
    reload: () => setGeneration(before => before + 1),
  };
}
