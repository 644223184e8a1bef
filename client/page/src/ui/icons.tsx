import type { JSX } from 'preact';

const PATHS = {
  back: 'M15 5l-7 7 7 7',
  send: 'M4 12l16-8-6 17-3-7z',
  plus: 'M12 5v14M5 12h14',
  more: 'M6 12h.01M12 12h.01M18 12h.01',
  reply: 'M10 8V4L3 11l7 7v-4c5 0 8 1 11 5-1-6-4-11-11-11z',
  close: 'M6 6l12 12M18 6L6 18',
  frames: 'M8 6l-5 6 5 6M16 6l5 6-5 6',
  'sign-out': 'M4 4h9M4 4v16h9M10 12h11M17 8l4 4-4 4',
  down: 'M12 5v14M6 13l6 6 6-6',
  edit: 'M4 20l1-5L16 4l4 4L9 19z',
  trash: 'M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13',
  copy: 'M9 9h11v11H9zM5 15H4V4h11v1',
  retry: 'M20 11a8 8 0 1 0-2 6M20 5v6h-6',
  image: 'M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15 9h.01',
  audio: 'M9 18V6l10-2v12M9 18a3 3 0 1 1-3-3 3 3 0 0 1 3 3zM19 16a3 3 0 1 1-3-3 3 3 0 0 1 3 3z',
  video: 'M4 6h11v12H4zM15 10l5-3v10l-5-3',
  file: 'M6 3h8l5 5v13H6zM14 3v5h5',
  location: 'M12 21c4-5 7-8 7-12a7 7 0 0 0-14 0c0 4 3 7 7 12zM12 9h.01',
  data: 'M9 4C6 4 8 11 4 12c4 1 2 8 5 8M15 4c3 0 1 7 5 8-4 1-2 8-5 8',
  markdown: 'M3 17V7l4 5 4-5v10M18 7v10M15 14l3 3 3-3',
  check: 'M4 12l5 5L20 6',
  'double-check': 'M2 12l5 5L17 6M12 16l1 1L23 6',
  clock: 'M12 7v5l3 2M21 12a9 9 0 1 1-9-9 9 9 0 0 1 9 9z',
  block: 'M5.6 5.6l12.8 12.8M21 12a9 9 0 1 1-9-9 9 9 0 0 1 9 9z',
  chat: 'M4 5h16v11h-9l-5 4v-4H4zM8 9h8M8 12h5',
  members:
    'M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7zM2.5 20a6.5 6.5 0 0 1 13 0M16 4.5a3.5 3.5 0 0 1 0 6.5M18 14.5a6.5 6.5 0 0 1 3.5 5.5',
  leave: 'M14 4H5v16h9M10 12h11M17 8l4 4-4 4',
  room: 'M5 9h15M4 15h15M10 4L8 20M16 4l-2 16',
  warning: 'M12 4l9 16H3zM12 10v4M12 17h.01',
} as const;

export type IconName = keyof typeof PATHS;

/** A decorative icon, hidden from screen readers; use it next to a text. */
export function Icon({ name }: { name: IconName }): JSX.Element {
  return (
    <svg class={`icon icon-${name}`} viewBox="0 0 24 24" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}
