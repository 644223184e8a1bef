import type { JSX } from 'preact';
import { useEffect, useId, useMemo, useRef, useState } from 'preact/hooks';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { clock, clockWithSeconds, formatNumber, type Quantity, text } from '../format.js';
import type { Columns, Samples, Value } from '../samples.js';

const HEIGHT = 168;
const COLORS = 6;
export interface Line {
  readonly label: string;
  /** The number of a colour of the style, from 1; the colours repeat. */
  readonly color: number;
  readonly value: Value;
  readonly isFilled?: boolean;
}

/** The values of a plot. */
export interface Scale {
  readonly quantity: (value: number) => Quantity;
  /** The axis reaches at least to this value, so that noise near zero does not look like a change. */
  readonly least: number;
}

interface PlotProps {
  readonly title: string;
  readonly detail: string;
  readonly scale: Scale;
  readonly lines: readonly Line[];
  readonly samples: Samples;
  /** Shown instead of a plot without lines. */
  readonly empty?: string;
}

/**
 * A plot of up to ten minutes. The legend shows the values at the cursor, which follows the mouse or the arrow keys, and otherwise
 * the newest ones.
 */
export function Plot({ title, detail, scale, lines, samples, empty }: PlotProps): JSX.Element {
  const id = useId();
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const [cursor, setCursor] = useState<number>();
  const theme = useTheme();
  const end = samples.time(performance.now());
  const range = useRef<[number, number]>([0, 0]);
  range.current = [end - samples.window(performance.now()), end];
  const columns = samples.columns(lines.map(line => line.value));
  const newest = useRef(columns);
  newest.current = columns;

  useEffect(() => {
    const parent = box.current;
    if (!parent || lines.length === 0) return;
    const options = makeOptions(parent.clientWidth, scale, lines, () => range.current, setCursor);
    const made = new uPlot(options, newest.current as uPlot.AlignedData, parent);
    plot.current = made;
    const observer = new ResizeObserver(() => made.setSize({ width: parent.clientWidth, height: HEIGHT }));
    observer.observe(parent);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = undefined;
      setCursor(undefined);
    };
  }, [lines, scale, theme]);
  useEffect(() => {
    plot.current?.setData(columns as uPlot.AlignedData);
  });

  const last = columns[0].length - 1;
  const index = cursor === undefined ? last : Math.min(cursor, last);
  const at = columns[0][index];
  const values = lines.map((line, i) => {
    const value = columns[i + 1]?.[index];
    return { ...line, text: value == null ? '–' : text(scale.quantity(value)) };
  });
  const when = cursor === undefined || at === undefined ? 'now' : `at ${clockWithSeconds(at)}`;
  const secondsAgo = (time = end) => Math.min(0, Math.round(time - end));
  const onKeyDown = (event: KeyboardEvent) => {
    const next = move(event.key, index, columns);
    if (next === undefined || !plot.current) return;
    event.preventDefault();
    const x = columns[0][next];
    // A negative position hides the cursor.
    const left = next === last || x === undefined ? -10 : plot.current.valToPos(x, 'x');
    plot.current.setCursor({ left, top: 0 });
  };
  return (
    <section class="panel plot" aria-labelledby={id}>
      <header>
        <h3 id={id}>{title}</h3>
        <p class="dim">{detail}</p>
        {cursor !== undefined && <p class="dim when">{when}</p>}
      </header>
      {lines.length === 0 && <p class="dim none">{empty}</p>}
      {lines.length > 0 && (
        <>
          <ul class="legend">
            {values.map(({ label, color, text }) => (
              <li key={label}>
                <span class={`swatch s${colorOf(color)}`} /> {label} <b>{text}</b>
              </li>
            ))}
          </ul>
          <div
            ref={box}
            class="canvas"
            role="slider"
            tabIndex={0}
            aria-label={`${title}, ${detail}: time`}
            aria-valuemin={secondsAgo(columns[0][0])}
            aria-valuemax={0}
            aria-valuenow={secondsAgo(at)}
            aria-valuetext={`${when}: ${values.map(({ label, text }) => `${label} ${text}`).join(', ')}`}
            onKeyDown={onKeyDown}
            onBlur={() => plot.current?.setCursor({ left: -10, top: -10 })}
          />
        </>
      )}
    </section>
  );
}

/** The index that a key leads to; undefined for other keys. Gaps are skipped. */
function move(key: string, index: number, columns: Columns): number | undefined {
  const [times, ...lines] = columns;
  const last = times.length - 1;
  const skip = (from: number, step: number): number => {
    let next = from;
    while (next > 0 && next < last && lines.every(line => line[next] == null)) next += step;
    return Math.max(0, Math.min(last, next));
  };
  switch (key) {
    case 'ArrowLeft':
    case 'ArrowDown':
      return skip(index - 1, -1);
    case 'ArrowRight':
    case 'ArrowUp':
      return skip(index + 1, 1);
    case 'PageDown':
      return skip(index - 60, -1);
    case 'PageUp':
      return skip(index + 60, 1);
    case 'Home':
      return skip(0, 1);
    case 'End':
    case 'Escape':
      return last;
    default:
      return undefined;
  }
}

function makeOptions(
  width: number,
  scale: Scale,
  lines: readonly Line[],
  range: () => [number, number],
  onCursor: (index: number | undefined) => void,
): uPlot.Options {
  const style = getComputedStyle(document.documentElement);
  const color = (name: string) => style.getPropertyValue(`--${name}`).trim();
  const font = `12px ${getComputedStyle(document.body).fontFamily}`;
  const axis = { stroke: color('dim'), font, ticks: { show: false } };
  return {
    width,
    height: HEIGHT,
    padding: [8, 8, 0, 0],
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, sync: { key: 'dashboard' }, points: { size: 7 } },
    scales: {
      x: { time: true, range },
      y: { range: (_, __, max) => [0, ceiling(Math.max(max ?? 0, scale.least))] },
    },
    axes: [
      {
        ...axis,
        grid: { show: false },
        size: 26,
        gap: 6,
        space: 72,
        incrs: [10, 20, 30, 60, 120, 300],
        values: (_, splits, __, ___, step) => splits.map(step < 60 ? clockWithSeconds : clock),
      },
      {
        ...axis,
        grid: { stroke: color('border'), width: 1 },
        size: 46,
        gap: 6,
        splits: (_, __, ___, max) => [0, max / 2, max],
        values: (_, splits) => splits.map(formatNumber),
      },
    ],
    series: [
      {},
      ...lines.map(({ label, color: number, isFilled }): uPlot.Series => {
        const stroke = color(`s${colorOf(number)}`);
        return {
          label,
          stroke,
          width: 1.75,
          ...(isFilled && { fill: `${stroke}26` }),
          // A value between two gaps is not part of a line.
          points: { show: true, size: 4, stroke, fill: stroke, filter: lonely },
        };
      }),
    ],
    hooks: { setCursor: [plot => onCursor(plot.cursor.idx ?? undefined)] },
  };
}

/** The indices of values that have no neighbour. */
const lonely: uPlot.Series.Points.Filter = (plot, series, show) => {
  if (show === false) return null;
  const values = plot.data[series] ?? [];
  const found: number[] = [];
  values.forEach((value, index) => {
    if (value != null && values[index - 1] == null && values[index + 1] == null) found.push(index);
  });
  return found;
};

/** The least of some multiples of powers of ten that is not smaller. Its half is a short number too. */
export function ceiling(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  const step = [1, 2, 4, 6, 8, 10].find(step => step * power >= value) ?? 10;
  return step * power;
}

function colorOf(number: number): number {
  return ((number - 1) % COLORS) + 1;
}

/** Changes when the browser changes between light and dark: the colours of a canvas do not follow the style. */
function useTheme(): boolean {
  const query = useMemo(() => matchMedia('(prefers-color-scheme: dark)'), []);
  const [isDark, setIsDark] = useState(query.matches);
  useEffect(() => {
    const onChange = () => setIsDark(query.matches);
    query.addEventListener('change', onChange);
    return () => query.removeEventListener('change', onChange);
  }, [query]);
  return isDark;
}
