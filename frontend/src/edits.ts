// Edits of the envelope in the form of the command line (docs/envelope.md), and the points of a line while it is drawn.

import type { HitMessage } from "./messages";
import type { Point } from "./project";

const POINT_SEC = 1 / 125, SILENT = 1e-4;

/** The text of `--move-hit`: an onset at another time, its level times `factor`. */
export function moveHit({ time, level }: HitMessage, to: number, factor = 1) {
  const changed = factor === 1 ? "" : `:${Math.min(1, level * factor).toPrecision(6)}`;
  return `${time.toFixed(6)}:${to.toFixed(6)}${changed}`;
}

/** The text of `--add-hit`; without a level, the envelope's there. */
export const addHit = (time: number, level?: number) => `${time.toFixed(4)}${level ? `:${level.toFixed(5)}` : ""}`;

/** The text of `--draw`. */
export const drawLine = (points: Point[]) => points.map(([time, level]) => `${time.toFixed(4)}:${level < SILENT ? 0 : level.toFixed(5)}`).join(",");

/** Continue a line; drawn backwards, it replaces what it passes over. */
export function addPoint(points: Point[], [time, level]: Point) {
  const last = points.at(-1)?.[0] ?? -Infinity;
  if (last <= time && time < last + POINT_SEC) return;
  while (points.length && points.at(-1)![0] >= time) points.pop();
  points.push([time, level]);
}

export const decibels = (level: number) => Math.round(20 * Math.log10(level));
