/** Node-only exports: `import { fileStorage } from 'dmwire/node'`. */
export { fileStorage } from './storage/file.js';
