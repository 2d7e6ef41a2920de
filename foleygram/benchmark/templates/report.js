"use strict";
// One sound at a time; a line follows it through its picture, and a click on the picture goes there.
for (const sound of document.querySelectorAll(".sound")) {
  const audio = sound.querySelector("audio");
  const picture = sound.querySelector(".picture");
  const now = picture.querySelector(".now");
  const seconds = Number(picture.dataset.seconds);
  const width = picture.viewBox.baseVal.width;
  const follow = () => {
    const x = width * Math.min(1, audio.currentTime / seconds);
    now.setAttribute("x1", x);
    now.setAttribute("x2", x);
    if (!audio.paused) requestAnimationFrame(follow);
  };
  audio.addEventListener("play", () => {
    for (const other of document.querySelectorAll("audio")) if (other !== audio) other.pause();
    picture.classList.add("playing");
    follow();
  });
  audio.addEventListener("seeked", follow);
  audio.addEventListener("ended", () => picture.classList.remove("playing"));
  picture.addEventListener("click", (event) => {
    const box = picture.getBoundingClientRect();
    audio.currentTime = (seconds * (event.clientX - box.left)) / box.width;
    audio.play();
  });
}
