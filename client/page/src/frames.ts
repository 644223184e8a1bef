/** Frames that are kept on show. */
const KEPT = 300;
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
  paused = false;

  get all(): readonly Frame[] {
    return this.#frames;
  }

  add(direction: 'in' | 'out', text: string): void {
    if (this.paused) return;
    this.#count += 1;
    const frame = { number: this.#count, direction, at: new Date(), text, type: typeOf(text) };
    this.#frames = [...this.#frames.slice(1 - KEPT), frame];
  }

  clear(): void {
    this.#frames = [];
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
