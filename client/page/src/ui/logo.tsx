import type { JSX } from 'preact';

export function Logo(): JSX.Element {
  return (
    <svg class="logo" viewBox="0 0 32 32" aria-hidden="true">
      <path class="shape" d="M8 3h16a6 6 0 0 1 6 6v9a6 6 0 0 1-6 6h-8l-7 6v-6H8a6 6 0 0 1-6-6V9a6 6 0 0 1 6-6z" />
      <path class="wire" d="M7 14h4l3-5 4 9 3-4h4" />
    </svg>
  );
}
