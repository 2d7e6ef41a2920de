"use strict";
// A listening test in one page: no server, no network. What is known of the sounds are blinded names; every answer is
// kept in this browser as it is given, and leaves it as a file that the listener downloads.

const test = JSON.parse(document.getElementById("test").textContent);
const STORE = "foleygram-listening-" + test.page;
const GRADES = ["Bad", "Poor", "Fair", "Good", "Excellent"];
const PAIR_KEYS = [["A", "play A"], ["B", "play B"], ["←", "A is better"], ["↓", "no difference"], ["→", "B is better"]];
const RATING_KEYS = [["Space", "play"], ["1", "to"], ["5", "rate"]];
const MOVE_KEYS = [["Enter", "next"], ["Backspace", "back"]];
const PAIR_OVERHEAD_SEC = 6, RATING_OVERHEAD_SEC = 5;

const main = document.getElementById("main");
const back = document.getElementById("back");
const next = document.getElementById("next");
let keeps = true; // whether this browser keeps what is stored
let state = load() || fresh();
let steps = plan(state.listener);
let screen = {}; // what the current step offers to keys: play, choose, grade
let since = 0;

// ---- the listener's own order: a function of the listener's identity alone

function random(seed) { // mulberry32: uniform in [0, 1)
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

function shuffled(trials, draw) {
  const left = trials.slice();
  for (let i = left.length - 1; i > 0; i--) {
    const j = Math.floor(draw() * (i + 1));
    [left[i], left[j]] = [left[j], left[i]];
  }
  const order = []; // where it can be helped, no clip comes twice in a row
  while (left.length) {
    const last = order.length ? order[order.length - 1].clip : null;
    const pick = left.findIndex((trial) => trial.clip !== last);
    order.push(left.splice(Math.max(pick, 0), 1)[0]);
  }
  return order;
}

function plan(listener) {
  const draw = random(parseInt(listener.slice(0, 8), 16));
  const mirrored = parseInt(listener.slice(-1), 16) % 2 === 1; // half of the listeners see left and right exchanged
  const pairs = shuffled(test.pairs, draw).map((pair) => mirrored ? { ...pair, left: pair.right, right: pair.left } : pair);
  const ratings = shuffled(test.ratings, draw);
  const all = [{ show: welcome }];
  pairs.forEach((trial, i) => all.push({ show: comparison, trial, of: `Comparison ${i + 1} of ${pairs.length}` }));
  if (pairs.length && ratings.length) all.push({ show: between });
  ratings.forEach((trial, i) => all.push({ show: rating, trial, of: `Rating ${i + 1} of ${ratings.length}` }));
  all.push({ show: end });
  return all;
}

// ---- what is kept

function fresh() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const listener = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return { page: test.page, listener, started: null, finished: null, position: 0, answers: {} };
}

function load() {
  try {
    const kept = JSON.parse(localStorage.getItem(STORE));
    const whole = kept && kept.page === test.page && /^[0-9a-f]{32}$/.test(kept.listener) &&
      Number.isInteger(kept.position) && typeof kept.answers === "object" && kept.answers !== null;
    return whole ? kept : null;
  } catch {
    return null;
  }
}

function save() {
  try {
    localStorage.setItem(STORE, JSON.stringify(state));
  } catch {
    keeps = false;
  }
  progress();
}

window.addEventListener("beforeunload", (event) => {
  if (!keeps && !state.finished && Object.keys(state.answers).length) event.preventDefault();
});

function answered(trial) {
  const answer = state.answers[trial.id];
  if (!answer) return false;
  if ("choice" in answer) return true;
  return answer.ratings === null || Object.keys(test.scales).every((name) => answer.ratings[name]);
}

function record(trial, change) {
  const now = performance.now();
  const before = state.answers[trial.id] || { seconds: 0 };
  state.answers[trial.id] = { ...before, ...change, seconds: Math.round(10 * before.seconds + (now - since) / 100) / 10 };
  since = now;
  save();
  next.disabled = !answered(trial);
}

function file() {
  const answers = steps.filter((step) => step.trial && answered(step.trial)).map(({ trial }) => {
    const { id, left, right, medium } = trial;
    const shown = medium ? { medium } : { left, right };
    return { trial: id, ...shown, ...state.answers[id] };
  });
  const { page, listener, started, finished } = state;
  return JSON.stringify({ format: "foleygram listening answers 1", page, listener, started, finished, answers }, null, 1);
}

// ---- building blocks

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function heading(text) {
  return element("h1", { textContent: text, tabIndex: -1 });
}

function keyHelp(pairs) {
  return pairs.map(([key, does]) => element("span", {}, element("kbd", { textContent: key }), " " + does));
}

function player(name, medium, onHeard, heard) {
  const source = `media/${medium}.${test.video ? "mp4" : "flac"}`;
  const media = element(test.video ? "video" : "audio", { src: source, preload: "auto", playsInline: true, disableRemotePlayback: true });
  const card = element("button", { type: "button", className: "player" + (test.video ? "" : " sound") });
  card.setAttribute("aria-label", `Play ${name}`);
  card.innerHTML = `<span class="stage"><span class="disc" aria-hidden="true">
    <svg class="start" viewBox="0 0 24 24"><path d="M7 4.5v15l13-7.5z"/></svg>
    <svg class="stop" viewBox="0 0 24 24"><path d="M6 5h4v14H6zM14 5h4v14h-4z"/></svg></span></span>
    <span class="track"><i></i></span><span class="label"><span class="name"></span><span class="heard"></span></span>`;
  card.querySelector(".name").textContent = name;
  card.querySelector(".stage").prepend(media);
  const fill = card.querySelector(".track i"), note = card.querySelector(".heard");
  const mark = (text, kind) => { note.textContent = text; if (kind) card.classList.add(kind); };
  mark(heard ? "heard" : "not heard yet", heard ? "done" : "");
  const draw = () => {
    fill.style.width = `${100 * (media.currentTime / media.duration || 0)}%`;
    if (!media.paused) requestAnimationFrame(draw);
  };
  media.addEventListener("play", () => { card.classList.add("playing"); draw(); });
  media.addEventListener("pause", () => card.classList.remove("playing"));
  media.addEventListener("ended", () => { mark("✓ heard", "done"); onHeard(true); });
  media.addEventListener("error", () => { mark("this browser cannot play it", "broken"); onHeard(false); });
  const toggle = () => {
    if (!media.paused) return media.pause();
    document.querySelectorAll("video, audio").forEach((other) => { if (other !== media) other.pause(); });
    media.currentTime = 0;
    media.play().catch(() => {}); // a broken file reports itself through its error event
  };
  card.addEventListener("click", toggle);
  return { card, toggle };
}

function listening(trial, count, ready) { // which of a trial's media were heard to their end
  const heard = new Array(count).fill(answered(trial));
  let broken = false;
  return (index) => (whole) => {
    if (whole) heard[index] = true; else broken = true;
    ready(heard.every(Boolean), broken);
  };
}

function prefetch() { // the next trial's media, while this one is heard
  const upcoming = steps[state.position + 1];
  if (!upcoming || !upcoming.trial) return;
  const { left, right, medium } = upcoming.trial;
  for (const name of medium ? [medium] : [left, right]) {
    const media = element(test.video ? "video" : "audio", { preload: "auto", src: `media/${name}.${test.video ? "mp4" : "flac"}` });
    screen.prefetched = [...(screen.prefetched || []), media];
  }
}

// ---- the steps

function welcome() {
  const { pairs, ratings, seconds } = test;
  const total = pairs.reduce((sum, pair) => sum + seconds[pair.left] + seconds[pair.right] + PAIR_OVERHEAD_SEC, 0) +
    ratings.reduce((sum, one) => sum + seconds[one.medium] + RATING_OVERHEAD_SEC * Object.keys(test.scales).length, 0);
  const minutes = Math.max(1, Math.round(total / 60));
  const what = test.video ? "short videos" : "short sounds";
  const parts = [pairs.length && `compare ${pairs.length} pairs of ${what}`, ratings.length && `rate ${ratings.length} ${what}`];
  const sample = (pairs[0] || {}).left || ratings[0].medium;
  const { card, toggle } = player("Sound check", sample, () => {}, false);
  card.querySelector(".heard").textContent = "set your volume with it";
  screen.play = [toggle];
  main.className = "text";
  main.append(
    heading("Listen closely"),
    element("p", { textContent: `You will ${parts.filter(Boolean).join(", then ")}. This takes about ${minutes} ` +
      `${minutes === 1 ? "minute" : "minutes"}. There are no right answers: what counts is what you hear.` }),
    element("p", { textContent: "Use headphones in a quiet room. Set a comfortable volume now, and leave it there." }),
    card,
    element("p", { className: "hint", textContent: "Your answers stay in this browser: you can close the page and go on " +
      "later. Nothing is sent anywhere; at the end you download one file." }),
  );
  main.querySelector(".hint").style.textAlign = "left";
  next.textContent = "Start";
  return [["Space", "sound check"], ["Enter", "start"]];
}

function between() {
  main.className = "text";
  main.append(
    heading("Well done: the comparisons are behind you"),
    element("p", { textContent: `Now you hear ${test.ratings.length} one at a time and rate each from 1 to 5. Use the whole ` +
      "scale: 1 for the worst you heard so far, 5 for the best you can imagine." }),
  );
  next.textContent = "Go on";
  return [["Enter", "go on"]];
}

function comparison(trial) {
  const answer = state.answers[trial.id];
  const hint = element("p", { className: "hint" });
  hint.setAttribute("aria-live", "polite");
  const buttons = [["left", "← A is better"], ["none", "No difference"], ["right", "B is better →"]].map(([choice, text]) => {
    const button = element("button", { type: "button", textContent: text });
    button.addEventListener("click", () => choose(choice));
    return Object.assign(button, { choice });
  });
  const show = () => {
    const chosen = (state.answers[trial.id] || {}).choice;
    buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.choice === chosen)));
    sides.forEach(({ card }, i) => card.classList.toggle("chosen", chosen === ["left", "right"][i]));
  };
  const choose = (choice) => {
    if (buttons[0].disabled) return;
    record(trial, { choice });
    show();
  };
  const ready = (whole, broken) => {
    if (broken) return unplayable(hint, () => { record(trial, { choice: "unplayable" }); forward(); });
    buttons.forEach((button) => { button.disabled = !whole; });
    hint.textContent = whole ? "" : "Play both to their end first; you can play them again as often as you like.";
  };
  const heard = listening(trial, 2, ready);
  const sides = ["left", "right"].map((side, i) => player("AB"[i], trial[side], heard(i), Boolean(answer)));
  main.append(
    heading(test.video ? "Which sound fits the video better?" : "Which of the two sounds better?"),
    element("div", { className: "players" }, ...sides.map(({ card }) => card)),
    element("div", { className: "choices" }, ...buttons),
    hint,
  );
  ready(answered(trial), false);
  show();
  Object.assign(screen, { play: sides.map(({ toggle }) => toggle), choose });
  return PAIR_KEYS;
}

function rating(trial) {
  const names = Object.keys(test.scales);
  const hint = element("p", { className: "hint" });
  hint.setAttribute("aria-live", "polite");
  const grades = () => ({ ...((state.answers[trial.id] || {}).ratings || {}) });
  const fields = names.map((name) => {
    const options = GRADES.map((word, i) => {
      const input = element("input", { type: "radio", name, value: i + 1, checked: grades()[name] === i + 1 });
      input.addEventListener("change", () => grade(name, i + 1));
      return element("label", {}, input, element("b", { textContent: i + 1 }), word);
    });
    return element("fieldset", { name }, element("legend", { textContent: test.scales[name] }), element("div", { className: "grades" }, ...options));
  });
  const show = () => {
    const open = names.findIndex((name) => !grades()[name]);
    fields.forEach((field, i) => field.classList.toggle("active", i === open));
  };
  const grade = (name, value) => {
    const field = fields[names.indexOf(name)];
    if (field.disabled) return;
    field.querySelectorAll("input")[value - 1].checked = true;
    record(trial, { ratings: { ...grades(), [name]: value } });
    show();
  };
  const ready = (whole, broken) => {
    if (broken) return unplayable(hint, () => { record(trial, { ratings: null }); forward(); });
    fields.forEach((field) => { field.disabled = !whole; });
    hint.textContent = whole ? "" : "Play it to its end first.";
  };
  const { card, toggle } = player(test.video ? "Video" : "Sound", trial.medium, listening(trial, 1, ready)(0), answered(trial));
  main.append(
    heading(test.video ? "Watch, listen, and rate" : "Listen, and rate"),
    element("div", { className: "rated" }, card, element("div", { className: "scales" }, ...fields)),
    hint,
  );
  ready(answered(trial), false);
  show();
  const active = () => names.find((name) => !grades()[name]) || names[names.length - 1];
  Object.assign(screen, { play: [toggle], grade: (value) => grade(active(), value) });
  return RATING_KEYS;
}

function unplayable(hint, skip) {
  const button = element("button", { type: "button", textContent: "Skip it" });
  button.addEventListener("click", skip);
  hint.classList.add("warning");
  hint.replaceChildren("This browser cannot play it; another one may. ", button);
}

function end() {
  if (!state.finished) state.finished = new Date().toISOString();
  save();
  const name = `answers-${state.listener.slice(0, 8)}.json`;
  const link = element("a", { download: name });
  const download = element("button", { type: "button", className: "primary", textContent: "Download my answers", id: "download" });
  download.addEventListener("click", () => {
    link.href = URL.createObjectURL(new Blob([file()], { type: "application/json" }));
    link.click();
    notice.textContent = `Saved as ${name}. Send it to whoever invited you. You can download it again as long as this browser keeps it.`;
  });
  const again = element("button", { type: "button", textContent: "Another listener on this computer" });
  let sure = false;
  again.addEventListener("click", () => {
    if (!sure) {
      sure = true;
      again.textContent = "These answers are downloaded: begin anew";
      return;
    }
    state = fresh();
    steps = plan(state.listener);
    save();
    render();
  });
  const notice = element("p", { className: "hint", textContent: "Nothing has been sent. The file holds your answers and no name." });
  notice.setAttribute("aria-live", "polite");
  notice.style.textAlign = "left";
  main.className = "text";
  main.append(heading("Thank you!"), element("p", { textContent: "That was the last one. Please download your answers and send the file back." }),
    element("div", { className: "actions" }, download, again), notice);
  return [];
}

// ---- moving about

function progress() {
  const trials = steps.filter((step) => step.trial);
  const share = trials.filter(({ trial }) => answered(trial)).length / trials.length;
  const bar = document.querySelector(".bar");
  bar.firstElementChild.style.width = `${100 * share}%`;
  bar.setAttribute("aria-valuenow", Math.round(100 * share));
}

function render() {
  state.position = Math.min(Math.max(state.position, 0), steps.length - 1);
  const gap = steps.findIndex((step) => step.trial && !answered(step.trial)); // nothing is passed over
  if (gap >= 0) state.position = Math.min(state.position, gap);
  document.querySelectorAll("video, audio").forEach((media) => media.pause());
  screen = {};
  since = performance.now();
  main.className = "";
  main.replaceChildren();
  const step = steps[state.position];
  next.textContent = "Next";
  const keys = step.show(step.trial);
  const last = state.position === steps.length - 1;
  document.getElementById("keys").replaceChildren(...keyHelp(step.trial ? [...keys, ...MOVE_KEYS] : keys));
  document.getElementById("count").textContent = step.of || "";
  document.querySelector("footer").hidden = false;
  back.hidden = state.position === 0;
  next.hidden = last;
  next.disabled = Boolean(step.trial) && !answered(step.trial);
  if (!keeps) main.append(element("p", { className: "hint warning", textContent: "This browser keeps nothing: finish without closing the page." }));
  progress();
  prefetch();
  main.querySelector("h1").focus();
}

function forward() {
  if (next.disabled || next.hidden) return;
  if (!state.started) state.started = new Date().toISOString();
  state.position += 1;
  save();
  render();
}

function backward() {
  if (state.position === 0) return;
  state.position -= 1;
  save();
  render();
}

document.addEventListener("click", (event) => { // a control clicked with the mouse leaves the keys to the page
  const control = event.detail && event.target.closest("button");
  if (control) control.blur();
});
next.addEventListener("click", forward);
back.addEventListener("click", backward);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const onControl = event.target instanceof HTMLButtonElement || event.target instanceof HTMLAnchorElement;
  const onScale = event.target instanceof HTMLInputElement;
  const { play = [], choose, grade } = screen;
  const actions = {
    a: play.length > 1 && play[0], b: play.length > 1 && play[1], " ": !onControl && !onScale && play.length === 1 && play[0],
    ArrowLeft: choose && (() => choose("left")), ArrowRight: choose && (() => choose("right")), ArrowDown: choose && (() => choose("none")),
    Enter: !onControl && forward, Backspace: backward,
  };
  const digit = grade && /^[1-5]$/.test(event.key) && (() => grade(Number(event.key)));
  const action = digit || actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action || (onScale && event.key.startsWith("Arrow"))) return;
  event.preventDefault();
  action();
});

render();
