// The onsets as handles on the timeline: dragged, nudged by keys, removed.

import { element, find } from "./page";
import { decibels, moveHit } from "./edits";
import type { HitMessage } from "./messages";
import type { Timeline } from "./timeline";

const NUDGE_SEC = 0.01, MOVED_PX = 3, SAME_SEC = 0.0006, LABEL_PX = 48, EDGE_PX = 12, PX_PER_DB = 8;

interface Handle { button: HTMLButtonElement; label: HTMLSpanElement; hit: HitMessage }

export class Onsets {
  private readonly root = find("#onsets");
  private readonly handles: Handle[] = [];
  private focusTime: number | null = null; // of the onset that an edit moved: its handle is focused again

  constructor(private readonly timeline: Timeline) {}

  private get project() { return this.timeline.project; }

  /** Bring the handles in line with the project's hits. */
  show() {
    const { view } = this.timeline, hits = this.project.envelope?.hits ?? [];
    while (this.handles.length > hits.length) this.handles.pop()!.button.remove();
    let labelled = -Infinity;
    hits.forEach((hit, index) => {
      const handle = (this.handles[index] ??= this.handle(hit)), x = view.x(hit.time), { button } = handle;
      handle.hit = hit;
      button.hidden = x < -EDGE_PX || x > view.width + EDGE_PX;
      if (!button.classList.contains("moving")) button.style.left = `${x}px`;
      button.ariaValueNow = hit.time.toFixed(3);
      button.ariaValueMax = this.project.seconds.toFixed(3);
      button.ariaLabel = `Onset ${index + 1} of ${hits.length}`;
      button.ariaValueText = `${hit.time.toFixed(3)} seconds, ${decibels(hit.level)} dB`;
      const text = x - labelled > LABEL_PX ? hit.time.toFixed(3) : "";
      if (text) labelled = x;
      handle.label.textContent = text;
    });
    this.focusAgain();
  }

  private focusAgain() {
    const time = this.focusTime;
    if (time === null) return;
    this.focusTime = null;
    const away = ({ hit }: Handle) => Math.abs(hit.time - time);
    const [nearest] = [...this.handles].sort((a, b) => away(a) - away(b));
    nearest?.button.focus({ preventScroll: true });
  }

  private handle(hit: HitMessage): Handle {
    const label = element("span"), button = element("button", { className: "onset", role: "slider", ariaValueMin: "0" }, label);
    const handle = { button, label, hit };
    button.addEventListener("pointerdown", (event) => this.grab(event, handle));
    button.addEventListener("keydown", (event) => this.key(event, handle));
    button.addEventListener("dblclick", (event) => event.stopPropagation());
    this.root.append(button);
    return handle;
  }

  private grab(event: PointerEvent, { button, label, hit }: Handle) {
    if (event.button > 0) return;
    event.stopPropagation();
    const { view } = this.timeline;
    button.setPointerCapture(event.pointerId);
    button.focus({ preventScroll: true });
    let time = hit.time, factor = 1;
    const move = (moved: PointerEvent) => {
      const dx = moved.clientX - event.clientX, dy = moved.clientY - event.clientY;
      time = Math.abs(dx) > MOVED_PX ? this.inside(hit.time + dx / view.scale) : hit.time;
      factor = Math.abs(dy) > 3 * MOVED_PX ? 10 ** (-dy / PX_PER_DB / 20) : 1;
      button.classList.add("moving");
      button.style.left = `${view.x(time)}px`;
      label.textContent = factor === 1 ? time.toFixed(3) : `${time.toFixed(3)} s, ${decibels(hit.level * factor)} dB`;
    };
    this.timeline.whileDragged(button, move, (dropped) => {
      if (dropped) this.move(hit, time, factor);
      this.timeline.draw();
    });
  }

  private key(event: KeyboardEvent, handle: Handle) {
    const { hit } = handle, by = event.shiftKey ? NUDGE_SEC : this.project.frame;
    const actions: Record<string, () => void> = {
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

  private neighbour(handle: Handle, step: number) { this.handles[this.handles.indexOf(handle) + step]?.button.focus(); }

  private inside(time: number) { return Math.min(this.project.seconds, Math.max(0, time)); }

  private move(hit: HitMessage, time: number, factor = 1) {
    const to = this.inside(time);
    if (Math.abs(to - hit.time) < SAME_SEC && factor === 1) return;
    this.focusTime = to;
    this.project.edit("move-hit", moveHit(hit, to, factor)).catch(this.timeline.report);
  }

  private remove(hit: HitMessage) {
    this.focusTime = hit.time;
    this.project.edit("remove-hit", hit.time.toFixed(6)).catch(this.timeline.report);
  }
}
