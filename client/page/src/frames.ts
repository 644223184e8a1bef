/** Frames that are kept on show, and characters of them: one of a long history may have 256 KiB. */
const KEPT = 300;
const KEPT_TEXT = 1_000_000;
/** What is shown of one in a line. */
const LINE = 300;

/** A frame that has come or gone. */
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
    let from = 0;
    // The newest one is there, however long.
    for (const { text } of this.#frames) {
      if (this.#frames.length - from < KEPT && this.#length <= KEPT_TEXT) break;
      this.#length -= text.length;
      from += 1;
    }
    this.#frames = [...this.#frames.slice(from), frame];
  }

  clear(): void {
    this.#frames = [];
    this.#length = 0;
  }
}

/** In one line, cut where it is long. */
export function inLine(text: string): string {
  return text.length > LINE ? `${text.slice(0, LINE)}…` : text;
}

/** Laid out, if it is JSON. */
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
