// Keyboard shortcuts of the page, and the table that lists them.

export const HELP = [
  ["Space", "play and pause"], ["J · K · L", "backwards, stop, forwards; again: faster"], ["Home · End", "to the start, to the end"],
  ["← · →", "a frame back, forward; on an onset: move it (Shift: 10 ms)"], ["↑ · ↓", "on an onset: 1 dB louder, softer"],
  ["Delete · Backspace", "remove the onset; without one, mute the selection"], ["Page Up · Page Down", "on an onset: to the one before, the next"],
  ["Double click", "add an onset at that time and level"], ["A", "add an onset at the playhead"],
  ["V · D · P", "tool: select, draw freehand, points"], ["Enter · Esc", "end the line of points; drop it, or the selection"],
  ["R", "make the selection a region"], ["Enter · Delete", "on a region: select its time span, remove it"], ["Shift + R", "render the selection again"], ["O", "loop the selection"], ["B", "A/B: the take heard before"],
  ["1 … 9", "hear that take"], ["Ctrl + Z · Ctrl + Shift + Z · Ctrl + Y", "undo, redo"], ["+ · − · 0", "zoom in, out, fit"],
  ["Wheel", "scroll; with Ctrl, zoom; two fingers pinch"], ["Drag in the ruler", "scrub"], ["?", "this table"],
];

export function showHelp(table) {
  table.replaceChildren(...HELP.map(([keys, what]) => {
    const line = document.createElement("tr"), [left, right] = [document.createElement("td"), document.createElement("td")];
    left.append(...keys.split(" · ").flatMap((key, index) => {
      const shown = Object.assign(document.createElement("kbd"), { textContent: key });
      return index ? [" ", shown] : [shown];
    }));
    right.textContent = what;
    line.append(left, right);
    return line;
  }));
}

/** Close an open menu by Escape, with the focus on its button. */
function closeMenu(event) {
  const menu = event.key === "Escape" && event.target.closest("details[name=menu][open]");
  if (!menu) return;
  event.stopPropagation();
  menu.open = false;
  menu.querySelector("summary").focus();
}

/** Call `actions[key]` for keys that are not typed into a field. */
export function listenToKeys(actions) {
  document.querySelector("main").addEventListener("keydown", closeMenu);
  document.addEventListener("keydown", (event) => {
    const typed = event.target.closest("input:not([type=range], [type=checkbox]), textarea, select, dialog");
    if (typed || event.altKey) return;
    const command = event.ctrlKey || event.metaKey;
    const pressed = event.target.closest("button, summary, a"); // on the timeline's handles Space plays, and Enter selects a region
    const isHandle = pressed?.matches(event.key === "Enter" ? ".onset" : ".onset, .region");
    if (pressed && !isHandle && [" ", "Enter"].includes(event.key)) return;
    const name = `${command ? "Ctrl+" : ""}${event.shiftKey && event.key.length === 1 && /[a-z]/i.test(event.key) ? "Shift+" : ""}${event.key.length === 1 ? event.key.toLowerCase() : event.key}`;
    const take = !command && /^[1-9]$/.test(event.key);
    const action = take ? () => actions.take(Number(event.key)) : actions[name];
    if (!action) return;
    if (event.target.matches("input[type=range]") && event.key.startsWith("Arrow")) return;
    event.preventDefault();
    action();
  });
}
