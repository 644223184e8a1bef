// A chat as a React component. It shows the messages that arrive while it is mounted; `client.history(peer)` returns earlier ones.

import { type Client, type Content, connect, DmwireError, webStorage } from 'dmwire';
import { type FormEvent, type JSX, useEffect, useState } from 'react';

interface ChatProps {
  /** URL of the server. */
  readonly url: string;
  readonly user: string;
  readonly peer: string;
}

interface Line {
  readonly id: string;
  readonly text: string;
}

export function Chat({ url, user, peer }: ChatProps): JSX.Element {
  const [client, setClient] = useState<Client>();
  const [status, setStatus] = useState('connecting');
  const [lines, setLines] = useState<readonly Line[]>([]);
  const [text, setText] = useState('');

  useEffect(() => {
    const add = (id: string, from: string, content: Content) => {
      const line = { id, text: `${from}: ${typeof content === 'string' ? content : content.type}` };
      setLines(known => [...known, line]);
    };
    const connection = connect({ url, user, storage: webStorage() });
    connection.on('state', state => setStatus(state.status));
    connection.on('message', ({ id, from_user, message }) => add(id, from_user, message));
    connection.on('sent', ({ frame, ack }) => {
      if (frame.type === 'message' && ack.id !== undefined) add(ack.id, user, frame.message);
    });
    setClient(connection);
    // dispose() returns nothing, as an effect requires; close() returns a promise. The next client waits for the storage.
    return () => connection.dispose();
  }, [url, user]);

  const submit = (event: FormEvent) => {
    event.preventDefault();
    client?.send(peer, text).catch((error: unknown) => {
      // A message that was not answered before the end is saved, and sent when the page is opened again.
      if (!(error instanceof DmwireError && error.code === 'closed')) alert(error);
    });
    setText('');
  };

  return (
    <section>
      <p role="status">{status}</p>
      <ol>
        {lines.map(line => (
          <li key={line.id}>{line.text}</li>
        ))}
      </ol>
      <form onSubmit={submit}>
        <input value={text} onChange={event => setText(event.target.value)} required maxLength={8000} />
        <button type="submit">Send</button>
      </form>
    </section>
  );
}
