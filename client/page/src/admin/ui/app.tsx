import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { rememberedKey, rememberKey } from '../key.js';
import { Dashboard } from './dashboard.js';
import { KeyForm } from './key-form.js';

/** Asks for a key if the server requires one, and shows the dashboard. */
export function App(): JSX.Element {
  const [key, setKey] = useState(rememberedKey);
  const [isAsking, setIsAsking] = useState(false);
  const [problem, setProblem] = useState<string>();
  /** The number of the dashboard: another one makes another connection, also with the same key. */
  const [generation, setGeneration] = useState(0);
  const use = (next: string | undefined) => {
    rememberKey(next);
    setKey(next);
    setProblem(undefined);
    setIsAsking(false);
    setGeneration(generation + 1);
  };
  const ask = (reason?: string) => {
    rememberKey(undefined);
    // Without a key, the request for one is no error. A server that accepts no key at all has another reason.
    setProblem(key === undefined && reason?.startsWith('A key is required') ? undefined : reason);
    setKey(undefined);
    setIsAsking(true);
  };
  useEffect(() => {
    if (isAsking) document.title = 'Key · dmwire dashboard';
  }, [isAsking]);
  if (isAsking) return <KeyForm problem={problem} onKey={use} />;
  return <Dashboard key={generation} apiKey={key} onKeyRejected={ask} onChangeKey={() => ask()} />;
}
