// The visible span of the timeline: seconds to pixels and back, zoom and scroll; and the rows' heights.

export const ROWS = {
  ruler: [0, 22], strip: [22, 94], regions: [96, 122], envelope: [124, 264], take: [268, 326], original: [326, 368],
} as const;
export type Row = keyof typeof ROWS;
export interface Span { start: number; end: number }

const CLOSEST_SEC = 0.25;

export class View {
  start = 0;
  span = 1;
  seconds = 1;
  width = 1;

  get end() { return this.start + this.span; }
  /** Pixels per second. */
  get scale() { return this.width / this.span; }
  x(time: number) { return (time - this.start) * this.scale; }
  time(x: number) { return Math.min(this.seconds, Math.max(0, this.start + x / this.scale)); }

  fit(seconds: number) { Object.assign(this, { seconds, start: 0, span: seconds }); }

  /** Zoom by `factor` so that the time at `x` stays where it is. */
  zoom(factor: number, x = this.width / 2) {
    const fixed = this.start + x / this.scale;
    this.span = Math.min(this.seconds, Math.max(Math.min(CLOSEST_SEC, this.seconds), this.span / factor));
    this.moveTo(fixed - x / this.scale);
  }

  moveTo(start: number) { this.start = Math.max(0, Math.min(start, this.seconds - this.span)); }
  scroll(pixels: number) { this.moveTo(this.start + pixels / this.scale); }

  /** Scroll so that a time is visible; returns whether it had to. */
  reveal(time: number) {
    if (time >= this.start && time <= this.end) return false;
    this.moveTo(time - this.span * 0.1);
    return true;
  }
}

export function rowAt(y: number): Row {
  const names = Object.keys(ROWS) as Row[];
  return names.find((name) => y >= ROWS[name][0] && y < ROWS[name][1] + 3) ?? "original";
}
