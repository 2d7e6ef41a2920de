// The visible span of the timeline: seconds to pixels and back, zoom and scroll; and the rows' heights.

export const ROWS = {
  ruler: [0, 22], strip: [22, 94], regions: [96, 122], envelope: [124, 264], take: [268, 324], original: [328, 368],
};
const CLOSEST_SEC = 0.25;

export class View {
  constructor() { this.start = 0; this.span = 1; this.seconds = 1; this.width = 1; }

  get end() { return this.start + this.span; }
  get scale() { return this.width / this.span; }
  x(time) { return (time - this.start) * this.scale; }
  time(x) { return Math.min(this.seconds, Math.max(0, this.start + x / this.scale)); }

  fit(seconds) { this.seconds = seconds; this.start = 0; this.span = seconds; }

  /** Zoom by `factor` so that the time at `x` stays where it is. */
  zoom(factor, x = this.width / 2) {
    const fixed = this.start + x / this.scale;
    this.span = Math.min(this.seconds, Math.max(Math.min(CLOSEST_SEC, this.seconds), this.span / factor));
    this.moveTo(fixed - x / this.scale);
  }

  moveTo(start) { this.start = Math.max(0, Math.min(start, this.seconds - this.span)); }
  scroll(pixels) { this.moveTo(this.start + pixels / this.scale); }

  /** Scroll so that a time is visible; returns whether it had to. */
  reveal(time) {
    if (time >= this.start && time <= this.end) return false;
    this.moveTo(time - this.span * 0.1);
    return true;
  }
}

export function rowAt(y) {
  return Object.keys(ROWS).find((name) => y >= ROWS[name][0] && y < ROWS[name][1] + 3) ?? "original";
}
