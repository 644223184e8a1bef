import { render } from 'preact';
import { arrive } from './identity.js';
import './style.css';
import { App } from './ui/app.js';

const root = document.getElementById('app');
if (root) render(<App arrival={arrive()} />, root);
