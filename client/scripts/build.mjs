// Builds dist/: one module a source file, with types, and dmwire.min.js, all of the client in one file for pages that
// have no build. Fails if that is more than 8 KiB when compressed.
import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { chmod, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const MOST = 8192;
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
console.log(`dmwire.min.js: ${size} bytes compressed, of ${MOST} allowed`);
if (size > MOST) process.exit(1);
