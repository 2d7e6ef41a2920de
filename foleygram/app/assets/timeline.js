// The film strip: drag to select a time span, click to set a time; playback moves the playhead.
const strip = () => element.querySelector("svg.timeline");
const seconds = () => Number(strip().dataset.seconds);
const CLICK = 4; // pixels within which a drag is a click
let begun = null;

function timeAt(event) {
  const box = strip().getBoundingClientRect();
  return Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1) * seconds();
}

function mark(kind, start, end) {
  const { width, height } = strip().viewBox.baseVal;
  let shape = strip().querySelector(`rect.${kind}`);
  if (!shape) {
    shape = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    shape.setAttribute("class", kind);
    strip().append(shape);
  }
  shape.setAttribute("x", (start / seconds()) * width);
  shape.setAttribute("y", 0);
  shape.setAttribute("width", Math.max(((end - start) / seconds()) * width, 1.5));
  shape.setAttribute("height", height - 22);
}

const span = (event) => [begun.time, timeAt(event)].sort((a, b) => a - b);
const moved = (event) => Math.abs(event.clientX - begun.x) > CLICK;

element.addEventListener("pointerdown", (event) => {
  if (event.button || !strip() || !event.target.closest("svg.timeline")) return;
  begun = { x: event.clientX, time: timeAt(event) };
  element.setPointerCapture(event.pointerId);
  event.preventDefault();
});
element.addEventListener("pointermove", (event) => {
  if (begun && moved(event)) mark("region", ...span(event));
});
element.addEventListener("pointercancel", () => { begun = null; });
element.addEventListener("pointerup", (event) => {
  if (!begun) return;
  const [start, end] = moved(event) ? span(event) : [begun.time, begun.time];
  begun = null;
  mark("region", start, end);
  document.querySelectorAll("video").forEach((video) => { if (video.paused) video.currentTime = start; });
  trigger("region", { start, end });
});

function follow(media) {
  if (strip() && Number.isFinite(media.currentTime)) mark("playhead", media.currentTime, media.currentTime);
  if (!media.paused && !media.ended) requestAnimationFrame(() => follow(media));
}
document.addEventListener("play", (event) => {
  document.querySelectorAll("video, audio").forEach((other) => { if (other !== event.target) other.pause(); });
  follow(event.target);
}, true);
