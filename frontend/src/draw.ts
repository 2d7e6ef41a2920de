// Draws the timeline's rows on its canvas: ruler, film strip, envelope, selection.

import { colour } from "./colours";
import type { EnvelopeMessage } from "./messages";
import type { Point, Project } from "./project";
import { ROWS, type Span, type View } from "./view";

/** Frames of a time span side by side in one image. */
export interface Strip extends Span { image: HTMLImageElement; count: number }
type Pen = CanvasRenderingContext2D;

const [UPPER, LOWER] = ROWS.envelope, TALL = LOWER - UPPER - 4;

/** Highest level on the envelope's axis, linear RMS. */
export function topLevel(project: Project) {
  let top = 0.05;
  for (const envelope of [project.envelope, project.source]) for (const value of envelope?.values ?? []) if (value > top) top = value;
  return Math.min(1, top * 1.15);
}
const levelY = (level: number, top: number) => LOWER - (level / top) * TALL;
export const yLevel = (y: number, top: number) => Math.min(1, Math.max(0, ((LOWER - y) / TALL) * top));

export function drawTimeline(canvas: HTMLCanvasElement, project: Project, view: View, strip: Strip | null) {
  const ratio = window.devicePixelRatio || 1, height = canvas.clientHeight;
  canvas.width = view.width * ratio;
  canvas.height = height * ratio;
  const pen = canvas.getContext("2d")!, top = topLevel(project);
  pen.scale(ratio, ratio);
  if (strip) drawStrip(pen, view, strip);
  for (const name of ["regions", "envelope", "take", "original"] as const) {
    pen.fillStyle = colour("ground");
    pen.fillRect(0, ROWS[name][0], view.width, ROWS[name][1] - ROWS[name][0] - 1);
  }
  if (project.envelope) {
    curve(pen, project.envelope, view, top, { fill: colour("curve"), stroke: colour("curve-line") });
    if (project.source !== project.envelope) curve(pen, project.source!, view, top, { stroke: colour("before"), dash: [4, 4] });
    const take = project.chosenTake();
    if (take) curve(pen, take.obtained, view, top, { stroke: colour("wave") });
  }
  drawRuler(pen, view, project.frame);
  if (project.points.length) polyline(pen, project.points, view, top);
  if (project.selection) {
    pen.fillStyle = colour("selection");
    const { start, end } = project.selection;
    pen.fillRect(view.x(start), ROWS.ruler[1], Math.max(1, (end - start) * view.scale), height - ROWS.ruler[1]);
  }
}

function drawRuler(pen: Pen, view: View, frame: number) {
  const steps = [frame, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600];
  const step = steps.find((size) => size * view.scale >= 62) ?? 1200;
  pen.font = "11px system-ui, sans-serif";
  pen.fillStyle = colour("text");
  pen.strokeStyle = colour("line");
  pen.beginPath();
  for (let index = Math.ceil(view.start / step); index * step <= view.end; index += 1) {
    const x = view.x(index * step);
    pen.moveTo(x, 0);
    pen.lineTo(x, ROWS.ruler[1]);
    pen.fillText(`${+(index * step).toFixed(3)} s`, x + 3, 14);
  }
  pen.stroke();
}

function drawStrip(pen: Pen, view: View, { image, count, start, end }: Strip) {
  const [top, bottom] = ROWS.strip, size = image.naturalWidth / count, cell = (end - start) / count;
  const shown = Math.min(cell * view.scale, ((bottom - top) * size) / image.naturalHeight);
  for (let index = 0; index < count; index += 1) {
    const middle = view.x(start + (index + 0.5) * cell);
    pen.drawImage(image, index * size, 0, size, image.naturalHeight, middle - shown / 2, top, shown - 1, bottom - top);
  }
}

interface Look { fill?: string; stroke: string; dash?: number[] }

function curve(pen: Pen, { rate, values }: EnvelopeMessage, view: View, top: number, { fill, stroke, dash = [] }: Look) {
  const first = Math.max(0, Math.floor(view.start * rate)), last = Math.min(values.length - 1, Math.ceil(view.end * rate));
  const interval = Math.max(1, Math.floor((last - first) / (2 * view.width)));
  pen.beginPath();
  for (let index = first; index <= last; index += interval) {
    let level = 0;
    for (let near = index; near < Math.min(last + 1, index + interval); near += 1) level = Math.max(level, values[near]);
    pen.lineTo(view.x(index / rate), levelY(Math.min(level, top), top));
  }
  pen.setLineDash(dash);
  pen.strokeStyle = stroke;
  pen.lineWidth = 1.5;
  pen.stroke();
  pen.setLineDash([]);
  pen.lineWidth = 1;
  if (!fill) return;
  pen.lineTo(view.x(last / rate), LOWER);
  pen.lineTo(view.x(first / rate), LOWER);
  pen.globalAlpha = 0.55;
  pen.fillStyle = fill;
  pen.fill();
  pen.globalAlpha = 1;
}

function polyline(pen: Pen, points: Point[], view: View, top: number) {
  pen.strokeStyle = pen.fillStyle = colour("onset");
  pen.beginPath();
  for (const [time, level] of points) pen.lineTo(view.x(time), levelY(level, top));
  pen.stroke();
  for (const [time, level] of points) pen.fillRect(view.x(time) - 3, levelY(level, top) - 3, 6, 6);
}
