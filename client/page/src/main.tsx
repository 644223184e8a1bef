import { render } from 'preact';
import { readAddress } from './address.js';
import { addRenderer } from './content/renderers.js';
import './base.css';
import './style.css';
import { App } from './ui/app.js';

/*
 * Hides the keys of an input method from the page: they choose and confirm words. Safari ends the composition before it reports
 * the Enter that confirmed it, so only the key code tells what it was. A text area starts no new line for it anyway.
 */
addEventListener(
  'keydown',
  event => {
    if (!event.isComposing && event.keyCode !== 229) return;
    event.stopPropagation();
    if (event.key === 'Escape' || (event.key === 'Enter' && !(event.target instanceof HTMLTextAreaElement)))
      event.preventDefault();
  },
  true,
);

globalThis.dmwire = { addRenderer };
// The scripts that follow this one add their renderers first.
addEventListener('DOMContentLoaded', () => {
  const root = document.getElementById('app');
  if (root) render(<App initial={readAddress()} />, root);
});
