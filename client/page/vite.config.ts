import { defineConfig } from 'vite';

export default defineConfig({
  appType: 'spa',
  base: './',
  build: {
    target: 'es2022',
    // One of each, as they are put into one page.
    cssCodeSplit: false,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rollupOptions: { output: { codeSplitting: false } },
  },
  // `npm run dev` beside a server on its usual port.
  server: { proxy: { '/ws': { target: 'http://127.0.0.1:8080', ws: true } } },
});
