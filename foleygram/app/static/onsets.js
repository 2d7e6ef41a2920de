// The onsets as handles on the timeline: dragged, nudged by keys, removed.

const NUDGE_SEC = 0.01, MOVED_PX = 3, SAME_SEC = 0.0006;

export class Onsets {
  constructor(timeline) {
    this.timeline = timeline;
    this.root = document.querySelector("#onsets");
    this.handles = [];
    this.focusTime = null;
  }

  get project() { return this.timeline.project; }

  /** Bring the handles in line with the project's hits. */
  show() {
    const { view } = this.timeline, hits = this.project.envelope?.hits ?? [];
    while (this.handles.length > hits.length) this.handles.pop().remove();
    while (this.handles.length < hits.length) this.handles.push(this.handle());
    let labelled = -Infinity;
    hits.forEach((hit, index) => {
      const handle = this.handles[index], x = view.x(hit.time);
      handle.hit = hit;
      handle.hidden = x < -12 || x > view.width + 12;
      if (!handle.classList.contains("moving")) handle.style.left = `${x}px`;
      handle.setAttribute("aria-valuenow", hit.time.toFixed(3));
      handle.setAttribute("aria-valuemax", this.project.seconds.toFixed(3));
      handle.setAttribute("aria-label", `Onset ${index + 1} of ${hits.length}`);
      handle.setAttribute("aria-valuetext", `${hit.time.toFixed(3)} seconds, ${Math.round(20 * Math.log10(hit.level))} dB`);
      const text = x - labelled > 48 ? hit.time.toFixed(3) : "";
      if (text) labelled = x;
      handle.firstChild.textContent = text;
    });
    if (this.focusTime !== null) {
      const nearest = this.handles.reduce((best, one) => (!best || this.away(one) < this.away(best) ? one : best), null);
      this.focusTime = null;
      nearest?.focus({ preventScroll: true });
    }
  }

  away(handle) { return Math.abs(handle.hit.time - this.focusTime); }

  handle() {
    const handle = document.createElement("button");
    handle.className = "onset";
    handle.setAttribute("role", "slider");
    handle.setAttribute("aria-valuemin", "0");
    handle.append(document.createElement("span"));
    handle.addEventListener("pointerdown", (event) => this.grab(event, handle));
    handle.addEventListener("keydown", (event) => this.key(event, handle));
    handle.addEventListener("dblclick", (event) => event.stopPropagation());
    this.root.append(handle);
    return handle;
  }

  grab(event, handle) {
    if (event.button > 0) return;
    event.stopPropagation();
    const { view } = this.timeline, from = { x: event.clientX, y: event.clientY }, hit = handle.hit;
    handle.setPointerCapture(event.pointerId);
    handle.focus({ preventScroll: true });
    let time = hit.time, factor = 1;
    const move = (moved) => {
      const dx = moved.clientX - from.x, dy = moved.clientY - from.y;
      time = Math.abs(dx) > MOVED_PX ? this.inside(hit.time + dx / view.scale) : hit.time;
      factor = Math.abs(dy) > 3 * MOVED_PX ? 10 ** (-dy / 8 / 20) : 1;
      handle.classList.add("moving");
      handle.style.left = `${view.x(time)}px`;
      handle.firstChild.textContent = factor === 1 ? time.toFixed(3) : `${time.toFixed(3)} s, ${Math.round(20 * Math.log10(hit.level * factor))} dB`;
    };
    const drop = (ended) => {
      handle.removeEventListener("pointermove", move);
      handle.classList.remove("moving");
      if (ended.type === "pointerup") this.move(hit, time, factor);
      this.timeline.draw();
    };
    handle.addEventListener("pointermove", move);
    handle.addEventListener("pointerup", drop, { once: true });
    handle.addEventListener("pointercancel", drop, { once: true });
  }

  key(event, handle) {
    const { hit } = handle, by = event.shiftKey ? NUDGE_SEC : this.project.frame;
    const actions = {
      ArrowLeft: () => this.move(hit, hit.time - by), ArrowRight: () => this.move(hit, hit.time + by),
      ArrowUp: () => this.move(hit, hit.time, 10 ** (1 / 20)), ArrowDown: () => this.move(hit, hit.time, 10 ** (-1 / 20)),
      Delete: () => this.remove(hit), Backspace: () => this.remove(hit),
      PageUp: () => this.neighbour(handle, -1), PageDown: () => this.neighbour(handle, 1),
    };
    if (!actions[event.key] || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    actions[event.key]();
  }

  neighbour(handle, step) { this.handles[this.handles.indexOf(handle) + step]?.focus(); }

  inside(time) { return Math.min(this.project.seconds, Math.max(0, time)); }

  move(hit, time, factor = 1) {
    const to = this.inside(time);
    if (Math.abs(to - hit.time) < SAME_SEC && factor === 1) return;
    const level = factor === 1 ? "" : `:${Math.min(1, hit.level * factor).toPrecision(6)}`;
    this.focusTime = to;
    this.project.edit("move-hit", `${hit.time.toFixed(6)}:${to.toFixed(6)}${level}`).catch(this.timeline.report);
  }

  remove(hit) {
    this.focusTime = hit.time;
    this.project.edit("remove-hit", hit.time.toFixed(6)).catch(this.timeline.report);
  }
}
