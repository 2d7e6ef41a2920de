// Keyboard shortcuts of the page, and the table that lists them.

import { element } from "./page";

const HELP = [
  ["Space", "play and pause"], ["J · K · L", "backwards, stop, forwards; again: faster"], ["Home · End", "to the start, to the end"],
  ["← · →", "a frame back, forward; on an onset: move it (Shift: 10 ms)"], ["↑ · ↓", "on an onset: 1 dB louder, softer"],
  ["Delete · Backspace", "remove the onset; without one, mute the selection"], ["Page Up · Page Down", "on an onset: to the one before, the next"],
  ["Double click", "add an onset at that time and level"], ["A", "add an onset at the playhead"],
  ["V · D · P", "tool: select, draw freehand, points"], ["Enter · Esc", "end the line of points; drop it, or the selection"],
  ["R", "make the selection a region"], ["Enter · Delete", "on a region: select its time span, remove it"], ["Shift + R", "render the selection again"], ["O", "loop the selection"], ["B", "A/B: the take heard before"],
  ["1 … 9", "hear that take"], ["Ctrl + Z · Ctrl + Shift + Z · Ctrl + Y", "undo, redo"], ["+ · − · 0", "zoom in, out, fit"],
  ["Wheel", "scroll; with Ctrl, zoom; two fingers pinch"], ["Drag in the ruler", "scrub"], ["?", "this table"],
];

export function showHelp(table: HTMLElement) {
  table.replaceChildren(...HELP.map(([keys, what]) => {
    const shown = keys.split(" · ").flatMap((key) => [" ", element("kbd", { textContent: key })]);
    return element("tr", {}, element("td", {}, ...shown), element("td", { textContent: what }));
  }));
}

/** Close an open menu by Escape, with the focus on its button. */
function closeMenu(event: KeyboardEvent) {
  const menu = event.key === "Escape" && (event.target as HTMLElement).closest<HTMLDetailsElement>("details[name=menu][open]");
  if (!menu) return;
  event.stopPropagation();
  menu.open = false;
  menu.querySelector("summary")?.focus();
}

/** A key with its modifiers, as the actions are named: `Ctrl+Shift+z`, `Shift+r`, `ArrowLeft`. */
function nameOf({ key, shiftKey, ctrlKey, metaKey }: KeyboardEvent) {
  const shift = shiftKey && /^[a-z]$/i.test(key); // other signs say by themselves whether Shift was pressed
  return `${ctrlKey || metaKey ? "Ctrl+" : ""}${shift ? "Shift+" : ""}${key.length === 1 ? key.toLowerCase() : key}`;
}

/** Call `actions[key]` for keys that are not typed into a field. */
export function listenToKeys(actions: Record<string, () => unknown>) {
  document.querySelector("main")!.addEventListener("keydown", closeMenu);
  document.addEventListener("keydown", (event) => {
    const target = event.target as HTMLElement, action = actions[nameOf(event)];
    const typed = target.closest("input:not([type=range], [type=checkbox]), textarea, select, dialog");
    if (typed || event.altKey || !action) return;
    const pressed = target.closest("button, summary, a"); // on the timeline's handles Space plays, and Enter selects a region
    const isHandle = pressed?.matches(event.key === "Enter" ? ".onset" : ".onset, .region");
    if (pressed && !isHandle && [" ", "Enter"].includes(event.key)) return;
    if (target.matches("input[type=range]") && event.key.startsWith("Arrow")) return;
    event.preventDefault();
    action();
  });
}
