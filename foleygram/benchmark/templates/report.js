"use strict";
// One sound at a time; a line follows it through its timeline, and a click on the timeline goes there.
for (const sound of document.querySelectorAll(".sound")) {
  const audio = sound.querySelector("audio");
  const timeline = sound.querySelector(".timeline");
  const now = timeline.querySelector(".now");
  const seconds = Number(timeline.dataset.seconds);
  const width = timeline.viewBox.baseVal.width;
  const follow = () => {
    const x = width * Math.min(1, audio.currentTime / seconds);
    now.setAttribute("x1", x);
    now.setAttribute("x2", x);
    if (!audio.paused) requestAnimationFrame(follow);
  };
  audio.addEventListener("play", () => {
    for (const other of document.querySelectorAll("audio")) if (other !== audio) other.pause();
    timeline.classList.add("playing");
    follow();
  });
  audio.addEventListener("seeked", follow);
  audio.addEventListener("ended", () => timeline.classList.remove("playing"));
  timeline.addEventListener("click", (event) => {
    const box = timeline.getBoundingClientRect();
    audio.currentTime = (seconds * (event.clientX - box.left)) / box.width;
    audio.play();
  });
}
