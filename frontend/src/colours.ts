// The style sheet's colours, for what is drawn on canvases.

const NAMES = ["text", "line", "ground", "curve", "curve-line", "before", "wave", "own", "selection", "onset"] as const;
type Name = (typeof NAMES)[number];
let colours: Record<string, string> = {};

export function readColours() {
  const style = getComputedStyle(document.documentElement);
  colours = Object.fromEntries(NAMES.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}
export const colour = (name: Name) => colours[name];
