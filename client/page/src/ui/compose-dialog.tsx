import type { JSX } from 'preact';
import { useId, useState } from 'preact/hooks';
import type { Content } from '../../../src/index.js';
import { Dialog } from './parts.js';

interface Field {
  readonly name: string;
  readonly label: string;
  readonly attributes: JSX.IntrinsicElements['input'];
  /** Maximum length in code points (docs/protocol.md section 3). The attribute `maxlength` counts UTF-16 code units, and cuts. */
  readonly max?: number;
  readonly multiline?: boolean;
}

const url: Field = {
  name: 'url',
  label: 'URL',
  max: 2048,
  attributes: { type: 'url', required: true, pattern: 'https?://.+', placeholder: 'https://' },
};
const text = { dir: 'auto' } as const;
const degrees = (name: string, label: string, bound: number): Field => ({
  name,
  label,
  attributes: { type: 'number', required: true, min: -bound, max: bound, step: 'any' },
});

const KINDS: Record<string, { readonly label: string; readonly fields: readonly Field[] }> = {
  image: { label: 'Image', fields: [url, { name: 'alt', label: 'Description', max: 1000, attributes: text }] },
  file: {
    label: 'File',
    fields: [url, { name: 'name', label: 'Name', max: 255, attributes: { required: true, ...text } }],
  },
  audio: { label: 'Audio', fields: [url] },
  video: { label: 'Video', fields: [url] },
  location: {
    label: 'Location',
    fields: [
      degrees('latitude', 'Latitude', 90),
      degrees('longitude', 'Longitude', 180),
      { name: 'label', label: 'Name', max: 200, attributes: text },
    ],
  },
  data: {
    label: 'Data',
    fields: [
      { name: 'name', label: 'Name', max: 128, attributes: { required: true, ...text } },
      { name: 'data', label: 'JSON', attributes: { required: true }, multiline: true },
    ],
  },
};

/** Form for content other than text. */
export function ComposeDialog(props: { onClose: () => void; onSend: (content: Content) => void }): JSX.Element {
  const id = useId();
  const [kind, setKind] = useState('image');
  const [error, setError] = useState<string>();
  const send = (event: SubmitEvent) => {
    event.preventDefault();
    const form = event.currentTarget as HTMLFormElement;
    const content: Record<string, unknown> = { type: kind };
    for (const [name, value] of new FormData(form)) {
      const text = String(value).trim();
      if (name === 'kind' || text === '') continue;
      const { label, max = Number.POSITIVE_INFINITY } = KINDS[kind]?.fields.find(field => field.name === name) ?? {};
      const excess = [...text].length - max;
      if (excess > 0) return setError(`${label}: ${excess} characters too long`);
      if (name === 'latitude' || name === 'longitude') content[name] = Number(text);
      else if (name === 'data') {
        try {
          content.data = JSON.parse(text);
        } catch (cause) {
          return setError(`Invalid JSON: ${(cause as Error).message}`);
        }
      } else content[name] = text;
    }
    props.onSend(content as unknown as Content);
    form.closest('dialog')?.close();
  };
  return (
    <Dialog label="Send media or data" onClose={props.onClose}>
      <form onSubmit={send}>
        <h2>Send media or data</h2>
        <div class="field">
          <label for={`${id}k`}>Type</label>
          <select id={`${id}k`} name="kind" value={kind} onChange={event => setKind(event.currentTarget.value)}>
            {Object.entries(KINDS).map(([name, { label }]) => (
              <option key={name} value={name}>
                {label}
              </option>
            ))}
          </select>
        </div>
        {KINDS[kind]?.fields.map(({ name, label, attributes, multiline }) => (
          <div class="field" key={kind + name}>
            <label for={id + name}>{label}</label>
            {multiline ? (
              <textarea
                id={id + name}
                name={name}
                rows={5}
                required
                spellcheck={false}
                onInput={() => setError(undefined)}
              />
            ) : (
              <input
                id={id + name}
                name={name}
                autocomplete="off"
                onInput={() => setError(undefined)}
                {...attributes}
              />
            )}
          </div>
        ))}
        <p class="problem" role="alert">
          {error}
        </p>
        <p class="dim">Only the URL is sent, not the file itself.</p>
        <p class="buttons">
          <button type="button" onClick={event => event.currentTarget.closest('dialog')?.close()}>
            Cancel
          </button>
          <button type="submit" class="primary">
            Send
          </button>
        </p>
      </form>
    </Dialog>
  );
}
