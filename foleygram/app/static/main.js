// Starts the page: opens films, and connects project, player, timeline, panels and keys.

import { follow, get, post, remove, upload } from "./api.js";
import { readColours } from "./draw.js";
import { runFolder, showFolder } from "./folder.js";
import { keep } from "./keep.js";
import { listenToKeys, showHelp } from "./keys.js";
import { addReference, compare, fillSound, listen, makeTakes, renderRegion, resume, showExports, showRegions, showTakes, soundOptions } from "./panels.js";
import { Player } from "./player.js";
import { Project } from "./project.js";
import { Timeline } from "./timeline.js";

const $ = (selector) => document.querySelector(selector), KEEP_DELAY_MS = 300;
const player = new Player($("#video")), projects = new Map();
let server, project = null, heard = null;

function report(error) {
  $("#message").textContent = error.message;
  $("#message").hidden = false;
  if (error.name !== "ServerError" && error.name !== "Error") console.error(error);
}
/** Run an action; what goes wrong is shown, and the last message goes away. */
const run = (action) => async (...values) => {
  $("#message").hidden = true;
  try { await action(...values); } catch (error) { report(error); }
};
const timeline = new Timeline(player, report);

// ---- films ----
function addFilm(film) {
  const added = new Project(film);
  projects.set(film.id, added);
  added.addEventListener("change", (event) => added === project && show(event.detail));
  return added;
}
const openFilm = (film) => switchTo(projects.get(film.id) ?? addFilm(film));

async function switchTo(opened) {
  player.pause();
  if (project) {
    keep(project, report);
    project.fields = { ...soundOptions(project), count: $("#count").value };
  }
  const kept = opened.now ? null : await opened.restore();
  if (!opened.now) await opened.start("predicted");
  if (kept ?? opened.fields) fillSound(kept ?? opened.fields);
  project = opened;
  heard = undefined;
  player.seconds = opened.seconds;
  player.loop = null;
  player.seek(0);
  $("#start").hidden = true;
  $("#editor").hidden = false;
  $("#film-name").textContent = `${opened.film.name} · ${opened.film.width} × ${opened.film.height} · ${opened.seconds.toFixed(2)} s · ${opened.film.frame_rate.toPrecision(4)} frames/s`;
  history.replaceState(null, "", `#${opened.film.id}`);
  showFilms();
  showReference();
  showVideo(opened);
  timeline.open(opened);
  await player.load("original", opened.film.has_sound ? `${opened.path}/sound` : null);
  await opened.refreshTakes();
  show("edit");
}

function showFilms() {
  $("#close").hidden = !project;
  $("#films").hidden = projects.size < 2;
  $("#films").replaceChildren(...[...projects.values()].map((one) => new Option(one.film.name, one.film.id, false, one === project)));
}

/** Close the film, and go to another one that is open, or to the start. */
async function closeFilm() {
  if (project.takes.length && !confirm(`Close ${project.film.name} and remove its takes?`)) return;
  await remove(project.path);
  projects.delete(project.film.id);
  const [other] = projects.values();
  player.pause();
  project = timeline.project = null;
  if (other) return switchTo(other);
  $("#start").hidden = false;
  $("#editor").hidden = true;
  $("#film-name").textContent = "";
  history.replaceState(null, "", location.pathname);
  showFilms();
}

/** Open the films that the server has open, the address's or the one used last first, and follow its work. */
async function comeBack() {
  const films = await get("/api/films"), wanted = location.hash.slice(1);
  films.forEach(addFilm);
  const chosen = wanted ? projects.get(wanted) : projects.get(films.at(-1)?.id);
  if (chosen) await switchTo(chosen);
  for (const job of (await get("/api/jobs")).filter((one) => ["waiting", "running"].includes(one.state))) {
    const shown = projects.get(job.film);
    if (shown) run(resume)(shown, job);
    else if (job.kind === "folder") run(async () => { await follow(job, "Folder"); await showFolder(openOfFolder); })();
  }
  if (wanted && !chosen) throw new Error("The film of this address is no longer open: it was closed, or the server was started again.");
}

/** Play the film itself, or a copy where the browser cannot decode it. */
function showVideo(opened) {
  const video = $("#video"), useCopy = () => { if (!video.src.endsWith("/proxy")) video.src = `${opened.path}/proxy`; };
  video.onerror = useCopy;
  video.onloadedmetadata = () => { if (!video.videoWidth) useCopy(); };
  video.src = `${opened.path}/video`;
}

const openFiles = run(async (files) => {
  for (const file of files) {
    if (file.size > server.max_megabytes * 1e6) throw new Error(`${file.name}: larger than the limit of ${server.max_megabytes} MB`);
    $("#limits").textContent = `Opening ${file.name} …`;
    try { await openFilm(await upload("/api/films/upload", file)); } finally { showLimits(); }
  }
});
const openNamed = run(async (body) => openFilm(await post("/api/films/open", body)));

function showLimits() {
  $("#limits").textContent = `Up to ${server.max_seconds} s and ${server.max_megabytes} MB. Films stay on this machine.`;
}

// ---- showing the project ----
function show(what) {
  timeline.draw();
  if (what === "selection") return showSelection();
  $("#undo").disabled = !project.canUndo;
  $("#redo").disabled = !project.canRedo;
  for (const tool of ["select", "draw", "points"]) $(`#tool-${tool}`).setAttribute("aria-checked", String(project.tool === tool));
  const onsets = project.envelope?.hits.length ?? 0, edits = (project.now?.edits ?? []).map((edit) => (edit.length > 60 ? `${edit.slice(0, 57)}…` : edit));
  $("#summary").textContent = `${onsets} onset${onsets === 1 ? "" : "s"}${edits.length ? `. Edits: ${edits.join(" ")}` : ""}`;
  showTakes(project);
  showRegions(project, regionActions);
  showExports(project, player, server.exports);
  keep(project, report);
  if (heard !== project.take) {
    heard = project.take;
    run(() => player.load("take", heard ? `${project.path}/takes/${heard}/sound` : null))();
  }
}

let typing = false; // in the fields From and To, which are then left as they are
function showSelection() {
  if (typing) return;
  $("#from").value = (project.selection?.start ?? player.time).toFixed(3);
  $("#to").value = (project.selection?.end ?? player.time).toFixed(3);
}

function span() {
  const start = Number($("#from").value), end = Number($("#to").value);
  if (!(end - start >= 0.001)) throw new Error("Select a time span first: drag over the timeline, or fill in From and To.");
  return `${start.toFixed(4)}:${end.toFixed(4)}`;
}

function setLoop(loop) {
  player.loop = loop;
  $("#loop").setAttribute("aria-pressed", String(Boolean(loop)));
}

const regionActions = {
  render: (region) => renderRegion(project, region, report),
  loop: (region) => { setLoop(region); player.seek(region.start); player.play(); },
  reference: run(async (region, file) => {
    const kept = await addReference(project, file);
    project.changeRegion(region.id, { reference: kept.id, referenceName: kept.name });
  }),
};

// ---- actions by button and key ----
const actions = {
  play: () => player.toggle(),
  back: () => timeline.seek(0),
  loop: () => setLoop(player.loop ? null : (project.selection ?? { start: 0, end: project.seconds })),
  undo: () => project.undo(),
  redo: () => project.redo(),
  "zoom-in": () => timeline.zoom(1.6, timeline.view.x(player.time)),
  "zoom-out": () => timeline.zoom(1 / 1.6),
  fit: () => timeline.fit(),
  "add-hit": () => timeline.addHit(player.time),
  "add-region": () => timeline.addRegion(),
  gain: () => project.edit("gain", `${span()}:${Number($("#gain-by").value)}dB`),
  shift: () => project.edit("shift", `${span()}:${Number($("#shift-by").value)}ms`),
  mute: () => project.edit("mute", span()),
  quantise: () => project.edit("quantise", String(project.film.frame_rate)),
  "from-predicted": () => project.start("predicted"),
  "from-audio": () => project.start("audio"),
  close: closeFilm,
  "no-reference": () => setReference(null),
  "take-envelope": () => { const take = project.chosenTake(); if (take) project.startFrom("take", take.obtained); },
  make: () => makeTakes(project),
};
for (const [id, action] of Object.entries(actions)) $(`#${id}`).addEventListener("click", run(action));

function setTool(tool) {
  timeline.finishPoints();
  project.tool = tool;
  show("tool");
}
for (const tool of ["select", "draw", "points"]) $(`#tool-${tool}`).addEventListener("click", () => setTool(tool));

const frames = (count) => () => { player.pause(); timeline.seek(player.time + count * project.frame); };
const keys = {
  " ": actions.play, k: () => player.pause(), j: () => player.shuttle(-1), l: () => player.shuttle(1), Home: actions.back,
  End: () => timeline.seek(project.seconds), ArrowLeft: frames(-1), ArrowRight: frames(1), a: actions["add-hit"], r: actions["add-region"],
  "Shift+r": () => { if (project.selection) return renderRegion(project, project.selection, report); throw new Error("Select a time span first."); },
  o: actions.loop, b: () => compare(project), v: () => setTool("select"), d: () => setTool("draw"), p: () => setTool("points"),
  Enter: () => timeline.finishPoints(), "Ctrl+z": actions.undo, "Ctrl+Shift+z": actions.redo, "Ctrl+y": actions.redo,
  Escape: () => { project.points = []; project.select(0, 0); }, Delete: actions.mute, Backspace: actions.mute,
  "+": actions["zoom-in"], "=": actions["zoom-in"], "-": actions["zoom-out"], 0: actions.fit, "?": () => $("#help").showModal(),
  take: (number) => project.takes.some((take) => take.number === number) && listen(project, number),
};
listenToKeys(Object.fromEntries(Object.entries(keys).map(([key, action]) => [key, (...values) => (project || key === "?") && run(action)(...values)])));

// ---- fields ----
$("#file").onchange = (event) => { openFiles([...event.target.files]); event.target.value = ""; };
$("#example").onclick = $("#start-example").onclick = () => openNamed({ example: true });
$("#films").onchange = run((event) => switchTo(projects.get(event.target.value)));
$("#load").onchange = run(async (event) => {
  const [file] = event.target.files;
  event.target.value = "";
  if (file) project.startFrom(file.name, await upload(`${project.path}/envelope-file`, file));
});
$("#reference").onchange = run(async (event) => {
  const [file] = event.target.files;
  event.target.value = "";
  if (file) setReference(await addReference(project, file));
});
function setReference(reference) {
  project.reference = reference;
  showReference();
  keep(project, report);
}
function showReference() {
  $("#reference-name").textContent = project.reference?.name ?? "";
  $("#no-reference").hidden = !project.reference;
}
let keeping;
$("#panels").addEventListener("input", () => {
  clearTimeout(keeping);
  keeping = setTimeout(() => keep(project, report), KEEP_DELAY_MS);
});
addEventListener("pagehide", () => keep(project, report));
for (const id of ["#from", "#to"]) $(id).addEventListener("change", () => {
  typing = true;
  project.select(Number($("#from").value), Number($("#to").value));
  typing = false;
});
for (const id of ["#keep-original", "#lufs", "#container"]) $(id).addEventListener("change", () => showExports(project, player, server.exports));
for (const name of ["take", "original"]) {
  $(`#${name}-fader`).addEventListener("input", () => { player.setFader(name, Number($(`#${name}-fader`).value)); showFaders(); });
  $(`#${name}-fader`).addEventListener("change", () => project && showExports(project, player, server.exports));
}
function showFaders() {
  $("#fader-values").value = ["take", "original"].map((name) => `${name} ${player.decibels[name] <= -40 ? "off" : `${player.decibels[name]} dB`}`).join(", ");
}
$("#theme").onclick = () => {
  const dark = getComputedStyle(document.documentElement).colorScheme.includes("dark");
  document.documentElement.dataset.theme = localStorage.theme = dark ? "light" : "dark";
  readColours();
  timeline.draw();
};
$("#help-open").onclick = () => $("#help").showModal();
const openOfFolder = (name) => openNamed({ name });
$("#folder-run").onclick = run(() => { keep(project, report); return runFolder(project, openOfFolder); });
player.addEventListener("state", () => {
  $("#play").textContent = player.speed ? "❚❚" : "▶";
  $("#play").setAttribute("aria-label", player.speed ? "Pause" : "Play");
});
document.addEventListener("dragover", (event) => { event.preventDefault(); $("#start").classList.add("over"); });
document.addEventListener("dragleave", () => $("#start").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("#start").classList.remove("over");
  openFiles([...event.dataTransfer.files]);
});

let held = -60;
function showMeter() {
  const level = Math.min(0, Math.max(-60, player.level())), share = (100 * (level + 60)) / 60;
  held = Math.max(level, held - 0.4);
  $("#meter div").style.clipPath = `inset(0 ${100 - share}% 0 0)`;
  $("#meter i").style.left = `${(100 * (held + 60)) / 60}%`;
  $("#meter").setAttribute("aria-valuenow", Math.round(level));
  requestAnimationFrame(showMeter);
}

if (["light", "dark"].includes(localStorage.theme)) document.documentElement.dataset.theme = localStorage.theme;
run(async () => {
  showHelp($("#help-table"));
  showFaders();
  showMeter();
  server = await get("/api");
  server.exports = server.exports.filter((kind) => kind !== "stem"); // one by one they are for other programs
  Object.assign($("#count"), { max: server.max_takes });
  $("#steps").value = server.steps;
  $("#guidance").value = server.guidance;
  $("#example").hidden = $("#start-example").hidden = !server.has_example;
  showLimits();
  if (server.has_folder) await showFolder(openOfFolder);
  try { await comeBack(); } finally { document.body.dataset.ready = "true"; }
})();
