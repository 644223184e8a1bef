/** The samples of the last ten minutes. */

/** What the plots show at most, in seconds. */
export const WINDOW_SECONDS = 600;
/** What they show until there are samples of ten minutes. */
const WINDOWS = [60, 120, 300, WINDOW_SECONDS];
/** Samples come every second. A longer pause than this is a gap in the plots, in seconds. */
const LONGEST_PAUSE = 2.5;

/** A frame of `/monitor` (`schema/monitor-frame.schema.json`). */
export interface Metrics {
  readonly timestamp: string;
  readonly cpu_load?: number;
  readonly memory_percent?: number;
  readonly memory_bytes?: number;
  readonly sessions: number;
  readonly users: number;
  readonly messages_per_second: number;
  readonly deliveries_per_second: number;
  readonly commit_p50_ms?: number;
  readonly commit_p99_ms?: number;
  readonly delivery_p50_ms?: number;
  readonly delivery_p99_ms?: number;
  readonly queue: number;
  readonly rejected_per_second: Readonly<Record<string, number>>;
}

/** Metrics at a time by the server's clock, in seconds since 1970. Without metrics: the time of a gap. */
interface Sample {
  readonly at: number;
  readonly metrics?: Metrics;
}

/** The value of a line of a plot; undefined if the server did not measure it. */
export type Value = (metrics: Metrics) => number | undefined;

/** Times, and for each line its values. `null` is a gap. */
export type Columns = [times: number[], ...values: (number | null)[][]];

export class Samples {
  #samples: Sample[] = [];
  /** `performance.now()` when the newest sample was received. */
  #receivedAt = 0;

  /** Adds the newest sample. `now` is the time of `performance.now()`. */
  add(metrics: Metrics, now: number): void {
    const at = Date.parse(metrics.timestamp) / 1000;
    if (Number.isNaN(at)) return;
    // Times must ascend. If the server's clock was set back, the samples after that time are not comparable with the new ones.
    while ((this.#samples.at(-1)?.at ?? -1) >= at) this.#samples.pop();
    const last = this.#samples.at(-1);
    if (last && at - last.at > LONGEST_PAUSE) this.#samples.push({ at: last.at + 1 });
    this.#samples.push({ at, metrics });
    this.#receivedAt = now;
    const first = this.#samples.findIndex(sample => sample.at >= at - WINDOW_SECONDS - 1);
    this.#samples.splice(0, first);
  }

  /** The newest metrics. */
  get newest(): Metrics | undefined {
    return this.#samples.at(-1)?.metrics;
  }

  /** The time by the server's clock, in seconds since 1970, at `now` by `performance.now()`. */
  time(now: number): number {
    const last = this.#samples.at(-1);
    return last ? last.at + (now - this.#receivedAt) / 1000 : Date.now() / 1000;
  }

  /** What the plots show, in seconds: as little as contains all samples. */
  window(now: number): number {
    const age = this.time(now) - (this.#samples[0]?.at ?? this.time(now));
    return WINDOWS.find(seconds => seconds >= age) ?? WINDOW_SECONDS;
  }

  columns(values: readonly Value[]): Columns {
    return [
      this.#samples.map(({ at }) => at),
      ...values.map(value => this.#samples.map(({ metrics }) => (metrics && value(metrics)) ?? null)),
    ];
  }

  /** The codes with which anything was rejected, by name. */
  get rejectedCodes(): string[] {
    const codes = new Set(this.#samples.flatMap(({ metrics }) => Object.keys(metrics?.rejected_per_second ?? {})));
    return [...codes].sort();
  }
}
