/** Numbers and durations as texts with their units. */

const WHOLE = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const TENTHS = new Intl.NumberFormat('en', { maximumFractionDigits: 1 });
const HUNDREDTHS = new Intl.NumberFormat('en', { maximumFractionDigits: 2 });
const CLOCK = new Intl.DateTimeFormat([], { hour: '2-digit', minute: '2-digit' });
const SECONDS = new Intl.DateTimeFormat([], { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const DATE = new Intl.DateTimeFormat([], {
  day: 'numeric',
  month: 'short',
  year: 'numeric',
  hour: '2-digit',
  minute: '2-digit',
});

/** A number and its unit, which is shown smaller. */
export interface Quantity {
  readonly number: string;
  readonly unit: string;
}

/** Shown where no value is known. */
export const NO_VALUE: Quantity = { number: '–', unit: '' };

/** With about three significant digits, because more of them only make a value that changes each second hard to read. */
export function formatNumber(value: number): string {
  const size = Math.abs(value);
  return (size >= 100 ? WHOLE : size >= 10 ? TENTHS : HUNDREDTHS).format(value);
}

export function formatCount(value: number): string {
  return WHOLE.format(value);
}

export function rate(value: number): Quantity {
  return { number: formatNumber(value), unit: '/s' };
}

export function count(value: number): Quantity {
  return { number: formatCount(value), unit: '' };
}

export function percent(value: number): Quantity {
  return { number: formatNumber(value), unit: '%' };
}

export function milliseconds(value: number): Quantity {
  return value < 1000 ? { number: formatNumber(value), unit: 'ms' } : { number: formatNumber(value / 1000), unit: 's' };
}

const BYTE_UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;

export function bytes(value: number): Quantity {
  let scaled = value;
  let index = 0;
  while (scaled >= 1024 && index < BYTE_UNITS.length - 1) {
    scaled /= 1024;
    index += 1;
  }
  return { number: formatNumber(scaled), unit: BYTE_UNITS[index] ?? 'B' };
}

/** A quantity as one text. A rate has no space before its unit. */
export function text({ number, unit }: Quantity): string {
  return unit === '' || unit.startsWith('/') ? `${number}${unit}` : `${number} ${unit}`;
}

/** A duration in seconds, with its two largest units. */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const minutes = Math.floor(whole / 60);
  const hours = Math.floor(minutes / 60);
  const days = Math.floor(hours / 24);
  if (days > 0) return `${formatCount(days)} d ${hours % 24} h`;
  if (hours > 0) return `${hours} h ${minutes % 60} min`;
  return minutes > 0 ? `${minutes} min` : `${whole} s`;
}

/** A time in seconds since 1970 as a time of day. */
export function clock(seconds: number): string {
  return CLOCK.format(seconds * 1000);
}

export function clockWithSeconds(seconds: number): string {
  return SECONDS.format(seconds * 1000);
}

/** A time from the server as a date and a time of day. */
export function date(time: string): string {
  const parsed = Date.parse(time);
  return Number.isNaN(parsed) ? time : DATE.format(parsed);
}
