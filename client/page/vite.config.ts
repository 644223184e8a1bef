import { defineConfig } from 'vite';

export default defineConfig({
  appType: 'spa',
  base: './',
  build: {
    target: 'es2022',
    // One script and one style file, because the build inlines both into the page.
    cssCodeSplit: false,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rollupOptions: { output: { codeSplitting: false } },
  },
  // For `npm run dev` with a server on the default port.
  server: { proxy: { '/ws': { target: 'http://127.0.0.1:8080', ws: true } } },
});
