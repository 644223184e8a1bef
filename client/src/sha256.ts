/** Bits of the fractional part of a root of `n`. */
function fraction(n: number, root: number): number {
  return (n ** (1 / root) % 1) * 2 ** 32;
}

const PRIMES: number[] = [];
for (let n = 2; PRIMES.length < 64; n += 1) if (PRIMES.every(prime => n % prime)) PRIMES.push(n);

/**
 * Returns the SHA-256 hash (FIPS 180-4) of an ASCII text of less than 8 KiB, in hexadecimal digits. `crypto.subtle` is missing on
 * pages without TLS, and its promises would change the order of events.
 */
export function sha256(text: string): string {
  const bytes = [...text].map(character => character.charCodeAt(0));
  const { length } = bytes;
  bytes.push(0x80);
  while (bytes.length % 64 !== 56) bytes.push(0);
  bytes.push(0, 0, 0, 0, 0, 0, length >> 5, (length << 3) & 255);
  const view = new DataView(Uint8Array.from(bytes).buffer);
  const rotate = (x: number, n: number) => (x >>> n) | (x << (32 - n));
  let state = Int32Array.from(PRIMES.slice(0, 8), prime => fraction(prime, 2));
  for (let start = 0; start < bytes.length; start += 64) {
    const words: number[] = [];
    const word = (i: number) => words[i] as number;
    let [a, b, c, d, e, f, g, h] = state as unknown as [number, number, number, number, number, number, number, number];
    PRIMES.forEach((prime, i) => {
      if (i < 16) {
        words.push(view.getInt32(start + 4 * i));
      } else {
        const [x, y] = [word(i - 15), word(i - 2)];
        const s0 = rotate(x, 7) ^ rotate(x, 18) ^ (x >>> 3);
        const s1 = rotate(y, 17) ^ rotate(y, 19) ^ (y >>> 10);
        words.push((word(i - 16) + s0 + word(i - 7) + s1) | 0);
      }
      const s1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
      const first = h + s1 + ((e & f) ^ (~e & g)) + (fraction(prime, 3) | 0) + word(i);
      const s0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
      const second = s0 + ((a & b) ^ (a & c) ^ (b & c));
      [h, g, f, e, d, c, b, a] = [g, f, e, (d + first) | 0, c, b, a, (first + second) | 0];
    });
    state = Int32Array.from([a, b, c, d, e, f, g, h], (x, i) => x + (state[i] as number));
  }
  return [...state].map(x => (x >>> 0).toString(16).padStart(8, '0')).join('');
}
