import { link, open, readFile, realpath, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { DmwireError } from '../errors.js';
import { newId } from '../ids.js';
import type { Saved, Storage, StorageHandle } from './storage.js';
import { Turns } from './turns.js';

/** The clients of this process that have a file open, by its canonical path. */
const turns = new Turns();
/** How long a client waits for another one of this process to close the file, which it may be doing. */
const CLOSE_MS = 5_000;
/** The newest resolution of a path. They run one after the other, so that clients get a file in the order in which they began. */
let resolution: Promise<unknown> = Promise.resolve();

/**
 * Stores cursor and outbox in a file. A save writes a new file, syncs it and renames it over the old one, so that a crash
 * leaves either the old or the new state. `path.lock` names the process that has the file open: one at a time, on one machine
 * (processes in two containers that share a volume cannot see whether the other one is running). Within a process a client
 * waits up to 5 seconds for the one before it to close the file.
 */
export function fileStorage(path: string): Storage {
  return {
    async open(scope): Promise<StorageHandle> {
      const resolved = resolution.then(() => canonicalPath(path));
      resolution = resolved.catch(() => {});
      const file = await resolved;
      const unlock = await lock(file);
      try {
        const text = await readFile(file, 'utf8').catch(ignoreMissing);
        const { scope: savedScope, ...saved }: Saved & { scope?: string } =
          text === undefined ? empty : JSON.parse(text);
        if (savedScope !== undefined && savedScope !== scope) {
          throw new DmwireError('wrong_user', `${path} belongs to ${savedScope}, not to ${scope}`);
        }
        return {
          saved,
          async save(next) {
            await writeFile(`${file}.new`, JSON.stringify({ scope, ...next }));
            await sync(`${file}.new`, 'r+');
            await rename(`${file}.new`, file);
            // The rename is durable once the directory is synced. (Windows cannot open directories and does not need it.)
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

/** Returns one path for all paths to the same file, which need not exist. */
async function canonicalPath(path: string): Promise<string> {
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

/** Takes the lock or throws. Returns a function that releases it. */
async function lock(file: string): Promise<() => Promise<void>> {
  const release = await turns.take(file, CLOSE_MS);
  if (!release) throw new Error(`${file} is already open in this process`);
  const path = `${file}.lock`;
  const own = `${process.pid} ${await startTime(process.pid)} ${newId()}`;
  const unlock = async () => {
    try {
      if ((await ownerOf(path)) === own) await rm(path, { force: true });
    } finally {
      release();
    }
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
      // Another process may have replaced the stale lock at the same moment. Then the renamed file is its lock, and is
      // put back.
      const renamed = `${path}.${newId()}`;
      await rename(path, renamed).catch(ignoreMissing);
      if ((await ownerOf(renamed)) !== owner) await link(renamed, path).catch(() => {});
      await rm(renamed, { force: true });
    }
  } catch (error) {
    await unlock();
    throw error;
  }
}

/** Creates the lock file if it does not exist, together with its content, so that no process reads an empty lock. */
async function create(path: string, owner: string): Promise<void> {
  const temporary = `${path}.${newId()}`;
  await writeFile(temporary, owner);
  try {
    await link(temporary, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  } finally {
    await rm(temporary, { force: true });
  }
}

async function ownerOf(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').catch(ignoreMissing);
}

/** Treats a missing file as no content. */
function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error;
}

/** Whether the process that created a lock is still running. The start time detects a reused process id. */
async function isAlive(owner: string): Promise<boolean> {
  const [pid, start] = owner.split(' ');
  if (!isRunning(Number(pid))) return false;
  // Locks of earlier versions have no start time. In a container the crashed process may have had our own id.
  if (start === undefined) return Number(pid) !== process.pid;
  const now = await startTime(Number(pid));
  return now === '' || now === start;
}

/** Returns the start time of a process from `/proc`, or an empty string on systems without it. */
async function startTime(pid: number): Promise<string> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  // The second field, the command name, is in parentheses and may contain anything. The start time is the 22nd field.
  return text.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? '';
}

function isRunning(pid: number): boolean {
  try {
    return pid > 0 && process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
