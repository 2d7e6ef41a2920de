// Regions as bars on the timeline: moved by their middle, made longer or shorter by their ends.

import { element, find } from "./page";
import type { Region } from "./project";
import type { Timeline } from "./timeline";
import type { Span } from "./view";

const MIN_SEC = 0.02, MOVED_PX = 2, NARROWEST_PX = 6, TOUCHING_SEC = 1e-9;

export class RegionBars {
  private readonly root = find("#regions-on-timeline");

  constructor(private readonly timeline: Timeline) {}

  private get project() { return this.timeline.project; }

  show() {
    if (this.root.querySelector(".moving")) return;
    const focused = document.activeElement?.closest<HTMLElement>(".region")?.dataset.id;
    this.root.replaceChildren(...this.project.regions.map((region, index) => this.bar(region, index + 1)));
    if (focused) this.root.querySelector<HTMLElement>(`[data-id="${focused}"]`)?.focus({ preventScroll: true });
  }

  private bar(region: Region, number: number) {
    const { id, start, end, prompt } = region;
    const ends = ["start", "end"].map((side) => element("b", { className: side }));
    const bar = element("button", {
      className: "region", ariaLabel: `Region ${number}, ${start.toFixed(2)} to ${end.toFixed(2)} seconds, ${prompt || "no prompt"}`,
    }, ...ends, prompt || `region ${number}`);
    bar.dataset.id = String(id);
    this.put(bar, region);
    bar.addEventListener("pointerdown", (event) => this.grab(event, bar, region));
    bar.addEventListener("click", (event) => { if (event.detail === 0) this.project.select(start, end); }); // by Enter
    bar.addEventListener("keydown", (event) => {
      if (!["Delete", "Backspace"].includes(event.key)) return;
      event.preventDefault();
      event.stopPropagation();
      this.project.removeRegion(id);
    });
    return bar;
  }

  private put(bar: HTMLElement, { start, end }: Span) {
    const { view } = this.timeline;
    bar.style.left = `${view.x(start)}px`;
    bar.style.width = `${Math.max(NARROWEST_PX, (end - start) * view.scale)}px`;
  }

  private grab(event: PointerEvent, bar: HTMLElement, region: Region) {
    if (event.button > 0) return;
    event.stopPropagation();
    const { project } = this, side = (event.target as HTMLElement).className;
    const others = project.regions.filter((other) => other.id !== region.id);
    const least = Math.max(0, ...others.filter((other) => other.end <= region.start + TOUCHING_SEC).map((other) => other.end));
    const most = Math.min(project.seconds, ...others.filter((other) => other.start >= region.end - TOUCHING_SEC).map((other) => other.start));
    let { start, end } = region, moved = false;
    bar.setPointerCapture(event.pointerId);
    const move = (at: PointerEvent) => {
      const px = at.clientX - event.clientX, by = px / this.timeline.view.scale, length = region.end - region.start;
      moved ||= Math.abs(px) > MOVED_PX;
      if (side === "start") start = Math.max(least, Math.min(region.end - MIN_SEC, region.start + by));
      else if (side === "end") end = Math.min(most, Math.max(region.start + MIN_SEC, region.end + by));
      else { start = Math.max(least, Math.min(most - length, region.start + by)); end = start + length; }
      bar.classList.add("moving");
      this.put(bar, { start, end });
    };
    this.timeline.whileDragged(bar, move, (dropped) => {
      if (!dropped) this.timeline.draw();
      else if (moved) project.changeRegion(region.id, { start, end });
      else project.select(region.start, region.end);
    });
  }
}
