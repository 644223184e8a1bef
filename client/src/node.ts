/** What only Node has: `import { fileStorage } from 'dmwire/node'`. */
export { fileStorage } from './storage/file.js';
