// The timeline: draws the project and turns mouse, touch and wheel into selections, edits, zoom and scroll.

import { drawTimeline, readColours, topLevel, yLevel } from "./draw.js";
import { Onsets } from "./onsets.js";
import { RegionBars } from "./region-bars.js";
import { newRegion } from "./project.js";
import { rowAt, View } from "./view.js";

const CLICK_PX = 4, STRIP_DELAY_MS = 250, POINT_SEC = 1 / 125;

export class Timeline {
  constructor(player, report) {
    this.player = player;
    this.report = report; // shows an error
    this.view = new View();
    this.media = { strip: null, take: null, original: null };
    this.root = document.querySelector("#timeline");
    this.canvas = document.querySelector("#canvas");
    this.surface = document.querySelector("#surface");
    this.scrollBar = document.querySelector("#scroll");
    this.onsets = new Onsets(this);
    this.bars = new RegionBars(this);
    this.touches = new Map();
    for (const name of ["pointerdown", "pointermove", "pointerup", "pointercancel", "dblclick"])
      this.surface.addEventListener(name, (event) => this.project && this[name](event));
    this.root.addEventListener("dragstart", (event) => event.preventDefault());
    this.root.addEventListener("wheel", (event) => this.project && this.wheel(event), { passive: false });
    this.scrollBar.addEventListener("input", () => { this.view.moveTo(Number(this.scrollBar.value)); this.draw(true); });
    new ResizeObserver(() => this.draw()).observe(this.root);
    player.addEventListener("time", () => this.movePlayhead(true));
    player.addEventListener("sound", () => { Object.assign(this.media, player.sounds); this.draw(); });
  }

  open(project) {
    this.project = project;
    this.media.strip = null;
    this.view.fit(project.seconds);
    readColours();
    this.loadStrip();
    this.draw();
  }

  draw(keepBar = false) {
    if (!this.project || this.waiting) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = null;
      const { project, view } = this;
      view.width = this.root.clientWidth;
      drawTimeline(this.canvas, project, view, this.media);
      this.onsets.show();
      this.bars.show();
      this.movePlayhead(false);
      this.scrollBar.max = Math.max(0, project.seconds - view.span);
      this.scrollBar.disabled = view.span >= project.seconds;
      if (!keepBar) this.scrollBar.value = view.start;
      this.root.dataset.start = view.start.toFixed(4);
      this.root.dataset.span = view.span.toFixed(4);
      this.stripSoon();
    });
  }

  movePlayhead(follow) {
    const at = this.player.time;
    if (follow && this.player.speed && this.view.reveal(at)) this.draw();
    document.querySelector("#playhead").style.transform = `translateX(${this.view.x(at)}px)`;
    document.querySelector("#clock").value = at.toFixed(3);
  }

  zoom(factor, x) { this.view.zoom(factor, x); this.draw(); }
  fit() { this.view.fit(this.project.seconds); this.draw(); }

  // ---- film strip of the visible span ----
  stripSoon() {
    const strip = this.media.strip, { start, end } = this.view;
    if (strip && Math.abs(strip.start - start) < 1e-3 && Math.abs(strip.end - end) < 1e-3) return;
    clearTimeout(this.stripTimer);
    this.stripTimer = setTimeout(() => this.loadStrip(), STRIP_DELAY_MS);
  }

  loadStrip() {
    const { project, view } = this, { width, height } = project.film;
    const count = Math.max(2, Math.min(40, Math.round(this.root.clientWidth / ((72 * width) / height))));
    const { start, end } = view, image = new Image();
    if (this.stripAsked === `${project.film.id} ${start} ${end}`) return;
    this.stripAsked = `${project.film.id} ${start} ${end}`;
    image.onload = () => { if (project === this.project) { this.media.strip = { image, start, end, count }; this.draw(); } };
    image.src = `${project.path}/strip?start=${start}&end=${end}&count=${count}`;
  }

  // ---- mouse and touch ----
  spot(event) {
    const box = this.root.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
    return { x, y, time: this.view.time(x), level: yLevel(y, topLevel(this.project)), row: rowAt(y) };
  }

  pointerdown(event) {
    if (event.button > 0) return;
    const spot = this.spot(event);
    this.surface.setPointerCapture(event.pointerId);
    this.touches.set(event.pointerId, spot.x);
    if (this.touches.size === 2) { this.drag = { kind: "pinch" }; return; }
    const drawing = spot.row === "envelope" && this.project.tool === "draw";
    const kind = spot.row === "ruler" ? "scrub" : drawing ? "draw" : spot.row === "regions" ? "region" : "select";
    this.drag = { kind, from: spot, moved: false };
    if (kind === "scrub") this.seek(spot.time);
    if (kind === "draw") this.project.points = [[spot.time, spot.level]];
  }

  pointermove(event) {
    if (!this.drag || !this.touches.has(event.pointerId)) return;
    const spot = this.spot(event), { project, drag } = this;
    if (drag.kind === "pinch") return this.pinch(event.pointerId, spot.x);
    this.touches.set(event.pointerId, spot.x);
    drag.moved ||= Math.abs(spot.x - drag.from.x) > CLICK_PX;
    if (drag.kind === "scrub") this.seek(spot.time);
    else if (drag.kind === "draw") this.addPoint(spot);
    else if (drag.moved) project.select(drag.from.time, spot.time);
    this.draw();
  }

  pointerup(event) {
    this.touches.delete(event.pointerId);
    const drag = this.drag;
    if (!drag || this.touches.size) return;
    this.drag = null;
    const { project } = this, spot = this.spot(event);
    if (drag.kind === "draw") return this.finishPoints();
    if (drag.kind === "region" && drag.moved) return this.addRegion();
    if (drag.kind !== "select" || drag.moved) return;
    if (project.tool === "points" && spot.row === "envelope") { this.addPoint(spot); this.draw(); return; }
    project.select(0, 0);
    this.seek(spot.time);
  }

  pointercancel(event) {
    this.touches.delete(event.pointerId);
    this.drag = null;
    if (this.project.tool === "draw") this.project.points = [];
    this.draw();
  }

  dblclick(event) {
    const spot = this.spot(event), { project } = this;
    if (project.tool === "points") return this.finishPoints();
    if (spot.row === "envelope") this.addHit(spot.time, Math.max(spot.level, 0.002));
  }

  pinch(pointer, x) {
    const before = [...this.touches.values()];
    this.touches.set(pointer, x);
    const after = [...this.touches.values()];
    const spread = ([one, other]) => Math.max(20, Math.abs(one - other));
    const middle = ([one, other]) => (one + other) / 2;
    this.view.zoom(spread(after) / spread(before), middle(before));
    this.view.scroll(middle(before) - middle(after));
    this.draw();
  }

  wheel(event) {
    const x = this.spot(event).x;
    if (event.ctrlKey || event.altKey || event.metaKey) this.zoom(Math.exp(-event.deltaY / 300), x);
    else {
      const by = Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey ? event.deltaX || event.deltaY : event.deltaY;
      if (this.view.span >= this.project.seconds) return; // the page scrolls
      this.view.scroll(by);
      this.draw();
    }
    event.preventDefault();
  }

  // ---- what they do ----
  seek(time) { this.player.seek(time); this.movePlayhead(false); }

  addPoint(spot) {
    const points = this.project.points, last = points.at(-1);
    if (!last || spot.time - last[0] >= POINT_SEC) points.push([spot.time, spot.level]);
    else if (last && spot.time < last[0]) { // drawn backwards: what it passes over is drawn anew
      while (points.length && points.at(-1)[0] >= spot.time) points.pop();
      points.push([spot.time, spot.level]);
    }
  }

  /** Make the drawn points an edit; fewer than two are dropped. */
  finishPoints() {
    const { project } = this, points = project.points;
    project.points = [];
    this.draw();
    if (points.length < 2) return;
    const text = points.map(([time, level]) => `${time.toFixed(4)}:${level < 1e-4 ? 0 : level.toFixed(5)}`).join(",");
    project.edit("draw", text).catch(this.report);
  }

  addHit(time, level) {
    const text = level ? `${time.toFixed(4)}:${level.toFixed(5)}` : time.toFixed(4);
    return this.project.edit("add-hit", text).catch(this.report);
  }

  addRegion() {
    const chosen = this.project.selection;
    if (!chosen) return this.report(new Error("Select a time span first: drag over the timeline."));
    const region = newRegion(chosen.start, chosen.end);
    this.project.setRegions("region", [...this.project.regions.filter((r) => r.end <= region.start || r.start >= region.end), region]);
  }
}
