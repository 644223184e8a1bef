/** Maximum number of frames in the log, and of characters in all of them: a history frame may have 256 KiB. */
const MAX_FRAMES = 300;
const MAX_LENGTH = 1_000_000;

/** A received or sent frame. */
export interface Frame {
  readonly number: number;
  readonly direction: 'in' | 'out';
  readonly at: Date;
  readonly text: string;
  readonly type: string;
}

/** The newest frames in both directions. */
export class FrameLog {
  #frames: readonly Frame[] = [];
  #count = 0;
  #length = 0;
  paused = false;

  get all(): readonly Frame[] {
    return this.#frames;
  }

  add(direction: 'in' | 'out', text: string): void {
    if (this.paused) return;
    this.#count += 1;
    const frame = { number: this.#count, direction, at: new Date(), text, type: typeOf(text) };
    this.#length += text.length;
    let dropped = 0;
    // The newest frame stays, however long it is.
    for (const { text } of this.#frames) {
      if (this.#frames.length - dropped < MAX_FRAMES && this.#length <= MAX_LENGTH) break;
      this.#length -= text.length;
      dropped += 1;
    }
    this.#frames = [...this.#frames.slice(dropped), frame];
  }

  clear(): void {
    this.#frames = [];
    this.#length = 0;
  }
}

/** Indents a frame if it is JSON. */
export function pretty(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function typeOf(text: string): string {
  try {
    const { type } = JSON.parse(text) as { type?: unknown };
    return typeof type === 'string' ? type : 'message';
  } catch {
    return 'not JSON';
  }
}

/** Returns the `ref` of a frame, if it has a valid one. */
export function refOf(text: string): string | undefined {
  try {
    const { ref } = JSON.parse(text) as { ref?: unknown };
    return typeof ref === 'string' ? ref : undefined;
  } catch {
    // The server reports the error.
    return undefined;
  }
}
