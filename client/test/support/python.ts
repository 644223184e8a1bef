/** The interpreter with the packages of `examples/python`. */

import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

const home = new URL('../../../../examples/python', import.meta.url).pathname;

const venv = join(home, '.venv');

/** The folder of `python` and `python3`. */
export const PYTHON_BIN = join(venv, 'bin');

/** Installs the requirements of the Python example, once at a time: test files run in parallel. */
export async function installPython(): Promise<void> {
  const install = [
    '[ -x "$0/bin/python" ] || python3 -m venv "$0"',
    '"$0/bin/python" -m pip install --quiet --disable-pip-version-check -r "$1"',
  ].join('\n');
  const requirements = join(home, 'requirements.txt');
  await promisify(execFile)('flock', [requirements, 'sh', '-ec', install, venv, requirements]);
}
