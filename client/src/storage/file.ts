import { link, open, readFile, realpath, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { DmwireError } from '../errors.js';
import { newId } from '../ids.js';
import type { Hold, Saved, Storage } from './storage.js';

/** What this process has, by the file's one true path. */
const held = new Set<string>();

/**
 * Keeps cursor and outbox in a file. A new state is written beside it, made durable and renamed over it, so that a
 * crash leaves the old one or the new one. `path.lock` says which process has it: one at a time, on one machine (in two
 * containers with one volume between them a process cannot tell whether the other one lives).
 */
export function fileStorage(path: string): Storage {
  return {
    async open(scope): Promise<Hold> {
      const file = await truePath(path);
      const unlock = await lock(file);
      try {
        const text = await readFile(file, 'utf8').catch(ifThere);
        const { scope: before, ...saved }: Saved & { scope?: string } = text === undefined ? empty : JSON.parse(text);
        if (before !== undefined && before !== scope) {
          throw new DmwireError('wrong_user', `${path} is of ${before}, not of ${scope}`);
        }
        return {
          saved,
          async save(next) {
            await writeFile(`${file}.new`, JSON.stringify({ scope, ...next }));
            await sync(`${file}.new`, 'r+');
            await rename(`${file}.new`, file);
            // The new name is durable with its folder. (Windows opens none, and needs none.)
            await sync(dirname(file), 'r').catch((error: NodeJS.ErrnoException) => {
              if (process.platform !== 'win32') throw error;
            });
          },
          close: unlock,
        };
      } catch (error) {
        await unlock();
        throw error;
      }
    },
  };
}

const empty: Saved = { v: 1, outbox: [] };

/** The same for all paths to a file, whether it is there yet or not. */
async function truePath(path: string): Promise<string> {
  return realpath(path).catch(async () => join(await realpath(dirname(resolve(path))), basename(path)));
}

async function sync(path: string, flags: string): Promise<void> {
  const file = await open(path, flags);
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Takes the lock, or fails; gives the function that lets go of it. */
async function lock(file: string): Promise<() => Promise<void>> {
  if (held.has(file)) throw new Error(`${file} is in use in this process`);
  held.add(file);
  const path = `${file}.lock`;
  const own = `${process.pid} ${await startOf(process.pid)} ${newId()}`;
  const unlock = async () => {
    if ((await ownerOf(path)) === own) await rm(path, { force: true });
    held.delete(file);
  };
  try {
    for (;;) {
      await create(path, own);
      const owner = await ownerOf(path);
      if (owner === own) return unlock;
      if (owner === undefined) continue;
      if (await isAlive(owner)) {
        const [pid] = owner.split(' ');
        throw new Error(`${file} is in use by process ${pid}; if that is another program, remove ${path}`);
      }
      // Others may find the same at the same moment, and one of them be done: then what was taken away is theirs, and
      // goes back.
      const aside = `${path}.${newId()}`;
      await rename(path, aside).catch(ifThere);
      if ((await ownerOf(aside)) !== owner) await link(aside, path).catch(() => {});
      await rm(aside, { force: true });
    }
  } catch (error) {
    await unlock();
    throw error;
  }
}

/** Makes the lock, if there is none: at once with what is in it, so that nobody finds it empty. */
async function create(path: string, owner: string): Promise<void> {
  const made = `${path}.${newId()}`;
  await writeFile(made, owner);
  try {
    await link(made, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  } finally {
    await rm(made, { force: true });
  }
}

async function ownerOf(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').catch(ifThere);
}

/** No file is no error. */
function ifThere(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error;
}

/** Whether the process that has made a lock still runs, and is not another one that has got its id since. */
async function isAlive(owner: string): Promise<boolean> {
  const [pid, start] = owner.split(' ');
  if (!isRunning(Number(pid))) return false;
  // Of an earlier version. In a container the crashed process may have had the id that we have now.
  if (start === undefined) return Number(pid) !== process.pid;
  const now = await startOf(Number(pid));
  return now === '' || now === start;
}

/** When a process was started, where the system says so in `/proc`; else nothing. */
async function startOf(pid: number): Promise<string> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  // The second field is a name, in parentheses, with anything in it; this is the 22nd.
  return text.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? '';
}

function isRunning(pid: number): boolean {
  try {
    return pid > 0 && process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
