// Draws the timeline's rows on its canvas: ruler, film strip, envelope, sounds, selection.

import { ROWS } from "./view.js";

const colours = {};
export function readColours() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["text", "quiet", "line", "ground", "panel", "curve", "curve-line", "before", "wave", "own", "selection", "region", "onset"])
    colours[name] = style.getPropertyValue(`--${name}`).trim();
}

/** Highest level on the envelope's axis, linear RMS. */
export function topLevel(project) {
  let top = 0.05;
  for (const envelope of [project.envelope, project.source]) for (const value of envelope?.values ?? []) if (value > top) top = value;
  return Math.min(1, top * 1.15);
}
export const levelY = (level, top) => ROWS.envelope[1] - (level / top) * (ROWS.envelope[1] - ROWS.envelope[0] - 4);
export const yLevel = (y, top) => Math.min(1, Math.max(0, ((ROWS.envelope[1] - y) / (ROWS.envelope[1] - ROWS.envelope[0] - 4)) * top));

export function drawTimeline(canvas, project, view, media) {
  const ratio = window.devicePixelRatio || 1, height = canvas.clientHeight;
  canvas.width = view.width * ratio;
  canvas.height = height * ratio;
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  pen.font = "11px system-ui, sans-serif";
  drawStrip(pen, view, media.strip);
  const top = topLevel(project);
  for (const name of ["regions", "envelope", "take", "original"]) {
    pen.fillStyle = colours.ground;
    pen.fillRect(0, ROWS[name][0], view.width, ROWS[name][1] - ROWS[name][0]);
  }
  if (project.envelope) {
    curve(pen, project.envelope, view, top, { fill: colours.curve, stroke: colours["curve-line"] });
    if (project.source !== project.envelope) curve(pen, project.source, view, top, { stroke: colours.before, dash: [4, 4] });
    const take = project.chosenTake();
    if (take) curve(pen, take.obtained, view, top, { stroke: colours.wave });
  }
  label(pen, `${Math.round(20 * Math.log10(top))} dB`.replace("-", "−"), ROWS.envelope[0] + 28); // below the onsets' times
  wave(pen, view, media.take, ROWS.take, colours.wave);
  wave(pen, view, media.original, ROWS.original, colours.own);
  label(pen, project.take ? `take ${project.take}` : "no take yet", ROWS.take[0] + 12);
  label(pen, media.original ? "original" : "no original sound", ROWS.original[0] + 12);
  drawRuler(pen, view, project.frame);
  if (project.points.length) polyline(pen, project.points, view, top);
  if (project.selection) {
    pen.fillStyle = colours.selection;
    const { start, end } = project.selection;
    pen.fillRect(view.x(start), ROWS.ruler[1], Math.max(1, (end - start) * view.scale), height - ROWS.ruler[1]);
  }
}

function label(pen, text, y) {
  pen.strokeStyle = colours.ground; // an edge that keeps it legible over waves
  pen.lineWidth = 4;
  pen.strokeText(text, 5, y);
  pen.lineWidth = 1;
  pen.fillStyle = colours.quiet;
  pen.fillText(text, 5, y);
}

function drawRuler(pen, view, frame) {
  const steps = [frame, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600];
  const step = steps.find((size) => size * view.scale >= 62) ?? 1200;
  pen.fillStyle = colours.text;
  pen.strokeStyle = colours.line;
  pen.beginPath();
  for (let index = Math.ceil(view.start / step); index * step <= view.end; index += 1) {
    const x = view.x(index * step);
    pen.moveTo(x, 0);
    pen.lineTo(x, ROWS.ruler[1]);
    pen.fillText(`${+(index * step).toFixed(3)} s`, x + 3, 14);
  }
  pen.stroke();
}

function drawStrip(pen, view, strip) {
  const [top, bottom] = ROWS.strip;
  if (!strip?.image) return;
  const size = strip.image.naturalWidth / strip.count, cell = (strip.end - strip.start) / strip.count;
  const shown = Math.min(cell * view.scale, ((bottom - top) * size) / strip.image.naturalHeight);
  for (let index = 0; index < strip.count; index += 1) {
    const middle = view.x(strip.start + (index + 0.5) * cell);
    pen.drawImage(strip.image, index * size, 0, size, strip.image.naturalHeight, middle - shown / 2, top, shown - 1, bottom - top);
  }
}

function curve(pen, envelope, view, top, { fill, stroke, dash = [] }) {
  const first = Math.max(0, Math.floor(view.start * envelope.rate)), last = Math.min(envelope.values.length - 1, Math.ceil(view.end * envelope.rate));
  const interval = Math.max(1, Math.floor((last - first) / (2 * view.width)));
  pen.beginPath();
  for (let index = first; index <= last; index += interval) {
    let level = 0;
    for (let near = index; near < Math.min(last + 1, index + interval); near += 1) level = Math.max(level, envelope.values[near]);
    pen.lineTo(view.x(index / envelope.rate), levelY(Math.min(level, top), top));
  }
  pen.setLineDash(dash);
  pen.strokeStyle = stroke;
  pen.lineWidth = 1.5;
  pen.stroke();
  pen.setLineDash([]);
  pen.lineWidth = 1;
  if (!fill) return;
  pen.lineTo(view.x(last / envelope.rate), ROWS.envelope[1]);
  pen.lineTo(view.x(first / envelope.rate), ROWS.envelope[1]);
  pen.globalAlpha = 0.55;
  pen.fillStyle = fill;
  pen.fill();
  pen.globalAlpha = 1;
}

function polyline(pen, points, view, top) {
  pen.strokeStyle = pen.fillStyle = colours.onset;
  pen.beginPath();
  for (const [time, level] of points) pen.lineTo(view.x(time), levelY(level, top));
  pen.stroke();
  for (const [time, level] of points) pen.fillRect(view.x(time) - 3, levelY(level, top) - 3, 6, 6);
}

function wave(pen, view, sound, [top, bottom], colour) {
  if (!sound) return;
  const middle = (top + bottom) / 2, half = (bottom - top) / 2, { rate, peaks, hop, top: highest } = sound;
  pen.fillStyle = colour;
  for (let x = 0; x < view.width; x += 1) {
    const first = Math.floor(((view.start + x / view.scale) * rate) / hop), last = Math.floor(((view.start + (x + 1) / view.scale) * rate) / hop);
    let peak = 0;
    for (let index = first; index <= Math.min(last, peaks.length - 1); index += 1) peak = Math.max(peak, peaks[index]);
    const size = Math.max(0.5, Math.min(1, peak / highest) * half);
    pen.fillRect(x, middle - size, 1, 2 * size);
  }
}
