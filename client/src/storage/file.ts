import { open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import type { Hold, Saved, Storage } from './storage.js';

const held = new Set<string>();

/**
 * Keeps cursor and outbox in a file. A new state is written beside it, made durable and renamed over it, so that a
 * crash leaves the old one or the new one. `path.lock` holds the id of the process that has it: one at a time.
 */
export function fileStorage(path: string): Storage {
  return {
    async open(scope): Promise<Hold> {
      await lock(path);
      try {
        const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
          if (error.code === 'ENOENT') return undefined;
          throw error;
        });
        const { scope: before, ...saved }: Saved & { scope?: string } = text === undefined ? empty : JSON.parse(text);
        if (before !== undefined && before !== scope) throw new Error(`${path} is of ${before}, not of ${scope}`);
        return {
          saved,
          async save(next) {
            const file = await open(`${path}.new`, 'w');
            try {
              await file.writeFile(JSON.stringify({ scope, ...next }));
              await file.sync();
            } finally {
              await file.close();
            }
            await rename(`${path}.new`, path);
          },
          close: () => unlock(path),
        };
      } catch (error) {
        await unlock(path);
        throw error;
      }
    },
  };
}

const empty: Saved = { v: 1, outbox: [] };

async function lock(path: string): Promise<void> {
  if (held.has(path)) throw new Error(`${path} is in use in this process`);
  held.add(path);
  try {
    for (;;) {
      try {
        return await writeFile(`${path}.lock`, String(process.pid), { flag: 'wx' });
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      }
      const owner = Number(await readFile(`${path}.lock`, 'utf8').catch(() => ''));
      // In a container the crashed process may have had the id that we have now.
      if (owner !== process.pid && isAlive(owner)) {
        throw new Error(`${path} is in use by process ${owner}; if that is another program, remove ${path}.lock`);
      }
      await rm(`${path}.lock`, { force: true });
    }
  } catch (error) {
    held.delete(path);
    throw error;
  }
}

async function unlock(path: string): Promise<void> {
  await rm(`${path}.lock`, { force: true });
  held.delete(path);
}

function isAlive(pid: number): boolean {
  try {
    return pid > 0 && process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
