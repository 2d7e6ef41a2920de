// The timeline: draws the project and turns mouse, touch and wheel into selections, edits, zoom and scroll.

import { readColours } from "./colours";
import { element, field, find } from "./page";
import { drawTimeline, type Strip, topLevel, yLevel } from "./draw";
import { addHit, addPoint, decibels, drawLine } from "./edits";
import { Onsets } from "./onsets";
import type { Player } from "./player";
import { newRegion, type Project } from "./project";
import { RegionBars } from "./region-bars";
import { type Row, rowAt, View } from "./view";
import { Waves } from "./waves";

const CLICK_PX = 4, STRIP_DELAY_MS = 250, STRIP_PX = 72, LEAST_LEVEL = 0.002;

interface Spot { x: number; time: number; level: number; row: Row }
interface Drag { kind: "scrub" | "draw" | "region" | "select" | "pinch"; from: Spot; moved: boolean }

export class Timeline {
  readonly view = new View();
  private shown: Project | null = null;
  private strip: Strip | null = null;
  private stripAsked = "";
  private stripTimer?: number;
  private drag: Drag | null = null;
  private waiting = false; // for a frame of the screen to draw in
  private readonly touches = new Map<number, number>(); // of each finger: its x
  private readonly root = find("#timeline");
  private readonly canvas = find<HTMLCanvasElement>("#canvas");
  private readonly surface = find("#surface");
  private readonly scrollBar = field("#scroll");
  private readonly onsets = new Onsets(this);
  private readonly bars = new RegionBars(this);
  private readonly waves = new Waves(() => this.draw());

  constructor(private readonly player: Player, readonly report: (error: Error) => void) {
    this.listen("pointerdown", (event) => this.press(event));
    this.listen("pointermove", (event) => this.move(event));
    this.listen("pointerup", (event) => this.release(event));
    this.listen("pointercancel", (event) => this.cancel(event));
    this.listen("dblclick", (event) => this.doubleClick(event));
    this.listen("wheel", (event) => this.wheel(event), this.root);
    this.root.addEventListener("dragstart", (event) => event.preventDefault());
    this.scrollBar.addEventListener("input", () => { this.view.moveTo(Number(this.scrollBar.value)); this.draw(true); });
    new ResizeObserver(() => this.draw()).observe(this.root);
    player.addEventListener("time", () => this.movePlayhead(true));
    player.addEventListener("sound", () => { this.waves.show(player.sounds, player.seconds); this.draw(); });
  }

  private listen<K extends keyof HTMLElementEventMap>(name: K, action: (event: HTMLElementEventMap[K]) => void, on = this.surface) {
    on.addEventListener(name, (event) => { if (this.shown) action(event); }, { passive: false });
  }

  /** The project that is shown; what needs it is called only while there is one. */
  get project() { return this.shown!; }

  open(project: Project) {
    this.shown = project;
    this.strip = null;
    this.view.fit(project.seconds);
    this.loadStrip();
    this.recolour();
  }

  close() { this.shown = null; }

  recolour() {
    readColours();
    this.waves.readColours();
    this.draw();
  }

  draw(keepBar = false) {
    if (!this.shown || this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      if (this.shown) this.drawNow(this.shown, keepBar);
    });
  }

  private drawNow(project: Project, keepBar: boolean) {
    const { view, root, scrollBar } = this;
    view.width = root.clientWidth;
    drawTimeline(this.canvas, project, view, this.strip);
    this.waves.place(view);
    this.onsets.show();
    this.bars.show();
    this.movePlayhead(false);
    find("#top-label").textContent = `${decibels(topLevel(project))} dB`.replace("-", "−");
    find("#take-label").textContent = project.take ? `take ${project.take}` : "no take yet";
    find("#original-label").textContent = this.player.sounds.original ? "original" : "no original sound";
    scrollBar.max = String(Math.max(0, project.seconds - view.span));
    scrollBar.disabled = view.span >= project.seconds;
    if (!keepBar) scrollBar.value = String(view.start);
    root.dataset.start = view.start.toFixed(4);
    root.dataset.span = view.span.toFixed(4);
    this.stripSoon();
  }

  private movePlayhead(follow: boolean) {
    const at = this.player.time;
    if (follow && this.player.speed && this.view.reveal(at)) this.draw();
    find("#playhead").style.transform = `translateX(${this.view.x(at)}px)`;
    find<HTMLOutputElement>("#clock").value = at.toFixed(3);
  }

  zoom(factor: number, x?: number) { this.view.zoom(factor, x); this.draw(); }
  fit() { this.view.fit(this.project.seconds); this.draw(); }

  // ---- film strip of the visible span ----
  private stripSoon() {
    const { strip, view } = this;
    if (strip && Math.abs(strip.start - view.start) < 1e-3 && Math.abs(strip.end - view.end) < 1e-3) return;
    clearTimeout(this.stripTimer);
    this.stripTimer = window.setTimeout(() => this.loadStrip(), STRIP_DELAY_MS);
  }

  private loadStrip() {
    const project = this.shown, { start, end } = this.view;
    if (!project || this.stripAsked === `${project.film.id} ${start} ${end}`) return;
    this.stripAsked = `${project.film.id} ${start} ${end}`;
    const { width, height } = project.film;
    const count = Math.max(2, Math.min(40, Math.round(this.root.clientWidth / ((STRIP_PX * width) / height))));
    const image = element("img", { src: `${project.path}/strip?start=${start}&end=${end}&count=${count}` });
    image.onload = () => { if (project === this.shown) { this.strip = { image, start, end, count }; this.draw(); } };
  }

  // ---- mouse and touch ----
  private spot(event: MouseEvent): Spot {
    const box = this.root.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
    return { x, time: this.view.time(x), level: yLevel(y, topLevel(this.project)), row: rowAt(y) };
  }

  /** Call `move` while a handle that was pressed is dragged, and `end` when it is dropped, or let go for another reason. */
  whileDragged(handle: HTMLElement, move: (event: PointerEvent) => void, end: (dropped: boolean) => void) {
    const stop = new AbortController(), { signal } = stop;
    const ended = ({ type }: PointerEvent) => { stop.abort(); handle.classList.remove("moving"); end(type === "pointerup"); };
    handle.addEventListener("pointermove", move, { signal });
    handle.addEventListener("pointerup", ended, { signal });
    handle.addEventListener("pointercancel", ended, { signal });
  }

  private press(event: PointerEvent) {
    if (event.button > 0) return;
    const from = this.spot(event), drawing = from.row === "envelope" && this.project.tool === "draw";
    this.surface.setPointerCapture(event.pointerId);
    this.touches.set(event.pointerId, from.x);
    const kind = this.touches.size === 2 ? "pinch" : from.row === "ruler" ? "scrub" : drawing ? "draw" : from.row === "regions" ? "region" : "select";
    this.drag = { kind, from, moved: false };
    if (kind === "scrub") this.seek(from.time);
    if (kind === "draw") this.project.points = [[from.time, from.level]];
  }

  private move(event: PointerEvent) {
    const { drag, project } = this;
    if (!drag || !this.touches.has(event.pointerId)) return;
    const spot = this.spot(event);
    if (drag.kind === "pinch") return this.pinch(event.pointerId, spot.x);
    this.touches.set(event.pointerId, spot.x);
    drag.moved ||= Math.abs(spot.x - drag.from.x) > CLICK_PX;
    if (drag.kind === "scrub") this.seek(spot.time);
    else if (drag.kind === "draw") addPoint(project.points, [spot.time, spot.level]);
    else if (drag.moved) project.select(drag.from.time, spot.time);
    this.draw();
  }

  private release(event: PointerEvent) {
    this.touches.delete(event.pointerId);
    const { drag, project } = this;
    if (!drag || this.touches.size) return;
    this.drag = null;
    const { time, level, row } = this.spot(event);
    if (drag.kind === "draw") this.finishPoints();
    else if (drag.kind === "region" && drag.moved) this.addRegion();
    else if (drag.kind === "select" && !drag.moved) {
      if (project.tool === "points" && row === "envelope") { addPoint(project.points, [time, level]); this.draw(); return; }
      project.select(0, 0);
      this.seek(time);
    }
  }

  private cancel(event: PointerEvent) {
    this.touches.delete(event.pointerId);
    this.drag = null;
    if (this.project.tool === "draw") this.project.points = [];
    this.draw();
  }

  private doubleClick(event: MouseEvent) {
    const { time, level, row } = this.spot(event);
    if (this.project.tool === "points") this.finishPoints();
    else if (row === "envelope") this.addHit(time, Math.max(level, LEAST_LEVEL));
  }

  private pinch(pointer: number, x: number) {
    const before = [...this.touches.values()];
    this.touches.set(pointer, x);
    const after = [...this.touches.values()];
    const spread = ([one, other]: number[]) => Math.max(20, Math.abs(one - other));
    const middle = ([one, other]: number[]) => (one + other) / 2;
    this.view.zoom(spread(after) / spread(before), middle(before));
    this.view.scroll(middle(before) - middle(after));
    this.draw();
  }

  private wheel(event: WheelEvent) {
    const { deltaX, deltaY } = event;
    if (event.ctrlKey || event.altKey || event.metaKey) this.zoom(Math.exp(-deltaY / 300), this.spot(event).x);
    else {
      if (this.view.span >= this.project.seconds) return; // the page scrolls
      this.view.scroll(Math.abs(deltaX) > Math.abs(deltaY) || event.shiftKey ? deltaX || deltaY : deltaY);
      this.draw();
    }
    event.preventDefault();
  }

  // ---- what they do ----
  seek(time: number) { this.player.seek(time); this.movePlayhead(false); }

  /** Make the drawn points an edit; fewer than two are dropped. */
  finishPoints() {
    const { points } = this.project;
    this.project.points = [];
    this.draw();
    if (points.length > 1) this.project.edit("draw", drawLine(points)).catch(this.report);
  }

  addHit(time: number, level?: number) { this.project.edit("add-hit", addHit(time, level)).catch(this.report); }

  addRegion() {
    const { selection, regions } = this.project;
    if (!selection) return this.report(new Error("Select a time span first: drag over the timeline."));
    const added = newRegion(selection.start, selection.end);
    this.project.setRegions([...regions.filter(({ start, end }) => end <= added.start || start >= added.end), added]);
  }
}
