// Builds dist/: one module per source file, with types, and dmwire.min.js, the whole client in one file for pages without a
// build step. Fails if dmwire.min.js exceeds 11.25 KiB compressed.
import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { chmod, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const MAX_BYTES = 11520;
const here = new URL('..', import.meta.url).pathname;
const dist = join(here, 'dist');

rmSync(dist, { recursive: true, force: true });
const tsc = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin/tsc');
execFileSync(process.execPath, [tsc, '-p', join(here, 'tsconfig.build.json')], { stdio: 'inherit' });
await chmod(join(dist, 'cli.js'), 0o755);

const outfile = join(dist, 'dmwire.min.js');
await build({
  entryPoints: [join(here, 'src/index.ts')],
  outfile,
  bundle: true,
  minify: true,
  format: 'esm',
  target: 'es2022',
});
const size = gzipSync(await readFile(outfile), { level: 9 }).length;
console.log(`dmwire.min.js: ${size} bytes compressed, limit ${MAX_BYTES}`);
if (size > MAX_BYTES) process.exit(1);
