import { render } from 'preact';
import { readAddress } from './identity.js';
import './style.css';
import { App } from './ui/app.js';

const root = document.getElementById('app');
if (root) render(<App initial={readAddress()} />, root);
