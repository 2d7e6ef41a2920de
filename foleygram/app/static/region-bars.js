// Regions as bars on the timeline: moved by their middle, made longer or shorter by their ends.

const MIN_SEC = 0.02;

export class RegionBars {
  constructor(timeline) {
    this.timeline = timeline;
    this.root = document.querySelector("#regions-on-timeline");
  }

  show() {
    const { view, project } = this.timeline;
    if (this.root.querySelector(".moving")) return;
    const focused = this.root.contains(document.activeElement) && document.activeElement.dataset.id;
    this.root.replaceChildren(...project.regions.map((region, index) => {
      const bar = document.createElement("button");
      bar.className = "region";
      bar.dataset.id = region.id;
      bar.setAttribute("aria-label", `Region ${index + 1}, ${region.start.toFixed(2)} to ${region.end.toFixed(2)} seconds, ${region.prompt || "no prompt"}`);
      this.put(bar, region, view);
      bar.append(...["start", "end"].map((side) => Object.assign(document.createElement("b"), { className: side })), region.prompt || `region ${index + 1}`);
      bar.addEventListener("pointerdown", (event) => this.grab(event, bar, region));
      bar.addEventListener("click", (event) => event.detail === 0 && project.select(region.start, region.end)); // by Enter
      bar.addEventListener("keydown", (event) => this.key(event, region));
      return bar;
    }));
    if (focused) this.root.querySelector(`[data-id="${focused}"]`)?.focus({ preventScroll: true });
  }

  put(bar, { start, end }, view) {
    bar.style.left = `${view.x(start)}px`;
    bar.style.width = `${Math.max(6, (end - start) * view.scale)}px`;
  }

  key(event, region) {
    if (!["Delete", "Backspace"].includes(event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    const { project } = this.timeline;
    project.setRegions("region", project.regions.filter((other) => other.id !== region.id));
  }

  grab(event, bar, region) {
    if (event.button > 0) return;
    event.stopPropagation();
    const { view, project } = this.timeline, from = event.clientX, side = event.target.className;
    const others = project.regions.filter((other) => other.id !== region.id);
    const least = Math.max(0, ...others.filter((other) => other.end <= region.start + 1e-9).map((other) => other.end));
    const most = Math.min(project.seconds, ...others.filter((other) => other.start >= region.end - 1e-9).map((other) => other.start));
    let { start, end } = region, moved = false;
    bar.setPointerCapture(event.pointerId);
    const move = (at) => {
      const by = (at.clientX - from) / view.scale, length = region.end - region.start;
      moved ||= Math.abs(at.clientX - from) > 2;
      if (side === "start") start = Math.max(least, Math.min(region.end - MIN_SEC, region.start + by));
      else if (side === "end") end = Math.min(most, Math.max(region.start + MIN_SEC, region.end + by));
      else { start = Math.max(least, Math.min(most - length, region.start + by)); end = start + length; }
      bar.classList.add("moving");
      this.put(bar, { start, end }, view);
    };
    const drop = (ended) => {
      bar.removeEventListener("pointermove", move);
      bar.classList.remove("moving");
      if (ended.type !== "pointerup") return this.timeline.draw();
      if (moved) project.changeRegion(region.id, { start, end });
      else project.select(region.start, region.end);
    };
    bar.addEventListener("pointermove", move);
    bar.addEventListener("pointerup", drop, { once: true });
    bar.addEventListener("pointercancel", drop, { once: true });
  }
}
