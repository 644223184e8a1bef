import type { ComponentChildren, JSX } from 'preact';
import type { CallError } from '../api.js';
import { placeHash } from '../place.js';

export interface Column<T> {
  readonly title: string;
  readonly isNumber?: boolean;
  readonly cell: (row: T) => ComponentChildren;
}

interface TableProps<T> {
  /** Names the table for screen readers. */
  readonly label: string;
  readonly columns: readonly Column<T>[];
  readonly rows: readonly T[];
  readonly id: (row: T) => string;
  /** Shown if there are no rows. */
  readonly empty: string;
}

/** A table. On a narrow screen each row is a block with the titles beside the values. */
export function Table<T>({ label, columns, rows, id, empty }: TableProps<T>): JSX.Element {
  if (rows.length === 0) return <p class="dim none">{empty}</p>;
  return (
    <table aria-label={label}>
      <thead>
        <tr>
          {columns.map(({ title, isNumber }) => (
            <th key={title} scope="col" class={isNumber ? 'number' : ''}>
              {title}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {rows.map(row => (
          <tr key={id(row)}>
            {columns.map(({ title, isNumber, cell }) => (
              <td key={title} data-title={title} class={isNumber ? 'number' : ''}>
                <span>{cell(row)}</span>
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

export function UserLink({ user }: { user: string }): JSX.Element {
  return (
    <a href={placeHash({ view: 'users', name: user })}>
      <bdi>{user}</bdi>
    </a>
  );
}

export function RoomLink({ room }: { room: string }): JSX.Element {
  return (
    <a href={placeHash({ view: 'rooms', name: room })}>
      <bdi>{room}</bdi>
    </a>
  );
}

/** Why a call has failed. */
export function Failure({ error }: { error: CallError | undefined }): JSX.Element | null {
  if (!error) return null;
  return (
    <p class="problem" role="alert">
      {error.isUnsupported ? 'This server does not support this call.' : error.message}
    </p>
  );
}

/** A property in a list of them. */
export function Fact({ title, children }: { title: string; children: ComponentChildren }): JSX.Element {
  return (
    <div>
      <dt>{title}</dt>
      <dd>{children}</dd>
    </div>
  );
}
