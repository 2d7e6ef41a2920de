// Starts the page: opens films, and connects project, player, timeline, panels and keys.

import { follow, get, post, remove, ServerError, upload } from "./api";
import { connectDesk } from "./desk";
import { button, field, find } from "./page";
import { runFolder, showFolder } from "./folder";
import { keep } from "./keep";
import { listenToKeys, showHelp } from "./keys";
import type { EnvelopeMessage, FilmMessage, JobMessage, ReferenceMessage, ServerMessage } from "./messages";
import {
  compare, fillSound, listen, makeTakes, renderRegion, resume, showExports, showRegions, showTakes, soundOptions, takesToMake,
} from "./panels";
import { Player } from "./player";
import { Project, type Tool } from "./project";
import { Timeline } from "./timeline";
import type { Span } from "./view";

const KEEP_DELAY_MS = 300, TOOLS: Tool[] = ["select", "draw", "points"];
const video = find<HTMLVideoElement>("#video"), player = new Player(video), projects = new Map<string, Project>();
let server: ServerMessage, shown: Project | null = null, heard: number | null | undefined = null;

function report(error: Error) {
  find("#message").textContent = error.message;
  find("#message").hidden = false;
  if (!(error instanceof ServerError) && error.name !== "Error") console.error(error);
}
/** Run an action; what goes wrong is shown, and the last message goes away. */
const run = <T extends unknown[]>(action: (...values: T) => unknown) => async (...values: T) => {
  find("#message").hidden = true;
  try { await action(...values); } catch (error) { report(error as Error); }
};
const timeline = new Timeline(player, report);
const project = () => timeline.project; // that of the actions, which are there only while a film is shown

// ---- films ----
function addFilm(film: FilmMessage) {
  const added = new Project(film);
  projects.set(film.id, added);
  added.addEventListener("change", (event) => { if (added === shown) show((event as CustomEvent<string>).detail); });
  return added;
}
const openFilm = (film: FilmMessage) => switchTo(projects.get(film.id) ?? addFilm(film));

async function switchTo(opened: Project) {
  player.pause();
  if (shown) {
    keep(shown, report);
    shown.fields = { ...soundOptions(shown), count: takesToMake() };
  }
  const kept = opened.now ? null : await opened.restore();
  if (!opened.now) await opened.start("predicted");
  const fields = kept ?? opened.fields, { film } = opened;
  if (fields) fillSound(fields);
  shown = opened;
  heard = undefined;
  player.seconds = opened.seconds;
  player.loop = null;
  player.seek(0);
  find("#start").hidden = true;
  find("#editor").hidden = false;
  find("#film-name").textContent = `${film.name} · ${film.width} × ${film.height} · ${film.seconds.toFixed(2)} s · ${film.frame_rate.toPrecision(4)} frames/s`;
  history.replaceState(null, "", `#${film.id}`);
  timeline.open(opened);
  showFilms();
  showReference();
  showVideo(opened);
  await player.load("original", film.has_sound ? `${opened.path}/sound` : null);
  await opened.refreshTakes();
  show("edit");
}

function showFilms() {
  button("#close").hidden = !shown;
  find("#films").hidden = projects.size < 2;
  find("#films").replaceChildren(...[...projects.values()].map((one) => new Option(one.film.name, one.film.id, false, one === shown)));
}

/** Close the film, and go to another one that is open, or to the start. */
async function closeFilm() {
  const { film, path, takes } = project();
  if (takes.length && !confirm(`Close ${film.name} and remove its takes?`)) return;
  await remove(path);
  projects.delete(film.id);
  const [other] = projects.values();
  player.pause();
  shown = null;
  timeline.close();
  if (other) return switchTo(other);
  find("#start").hidden = false;
  find("#editor").hidden = true;
  find("#film-name").textContent = "";
  history.replaceState(null, "", location.pathname);
  showFilms();
}

/** Open the films that the server has open, the address's or the one used last first, and follow its work. */
async function comeBack() {
  const films = await get<FilmMessage[]>("/api/films"), wanted = location.hash.slice(1);
  films.forEach(addFilm);
  const chosen = projects.get(wanted || (films.at(-1)?.id ?? ""));
  if (chosen) await switchTo(chosen);
  for (const job of (await get<JobMessage[]>("/api/jobs")).filter((one) => ["waiting", "running"].includes(one.state))) {
    const worked = projects.get(job.film ?? "");
    if (worked) run(resume)(worked, job);
    else if (job.kind === "folder") run(async () => { await follow(job, "Folder"); await showFolder(openOfFolder); })();
  }
  if (wanted && !chosen) throw new Error("The film of this address is no longer open: it was closed, or the server was started again.");
}

/** Play the film itself, or a copy where the browser cannot decode it. */
function showVideo(opened: Project) {
  const useCopy = () => { if (!video.src.endsWith("/proxy")) video.src = `${opened.path}/proxy`; };
  video.onerror = useCopy;
  video.onloadedmetadata = () => { if (!video.videoWidth) useCopy(); };
  video.src = `${opened.path}/video`;
}

const openFiles = run(async (files: Iterable<File>) => {
  for (const file of files) {
    if (file.size > server.max_megabytes * 1e6) throw new Error(`${file.name}: larger than the limit of ${server.max_megabytes} MB`);
    find("#limits").textContent = `Opening ${file.name} …`;
    try { await openFilm(await upload<FilmMessage>("/api/films/upload", file)); } finally { showLimits(); }
  }
});
const openNamed = run(async (body: { name: string } | { example: true }) => openFilm(await post<FilmMessage>("/api/films/open", body)));
const openOfFolder = (name: string) => openNamed({ name });

function showLimits() {
  find("#limits").textContent = `Up to ${server.max_seconds} s and ${server.max_megabytes} MB. Films stay on this machine.`;
}

// ---- showing the project ----
function show(what: string) {
  timeline.draw();
  if (what === "selection") return showSelection();
  const { canUndo, canRedo, tool, envelope, edits, take, path } = project();
  button("#undo").disabled = !canUndo;
  button("#redo").disabled = !canRedo;
  for (const one of TOOLS) find(`#tool-${one}`).ariaChecked = String(one === tool);
  const onsets = envelope?.hits?.length ?? 0, listed = edits.map((edit) => (edit.length > 60 ? `${edit.slice(0, 57)}…` : edit));
  find("#summary").textContent = `${onsets} onset${onsets === 1 ? "" : "s"}${listed.length ? `. Edits: ${listed.join(" ")}` : ""}`;
  showTakes(project());
  showRegions(project(), regionActions);
  showLinks();
  keep(project(), report);
  if (heard !== take) {
    heard = take;
    run(() => player.load("take", take ? `${path}/takes/${take}/sound` : null))();
  }
}
const showLinks = () => { if (shown) showExports(shown, player, server.exports.filter((kind) => kind !== "stem")); }; // stems one by one are for programs

let typing = false; // in the fields From and To, which are then left as they are
function showSelection() {
  if (typing) return;
  const { selection } = project();
  field("#from").value = (selection?.start ?? player.time).toFixed(3);
  field("#to").value = (selection?.end ?? player.time).toFixed(3);
}

function span() {
  const start = Number(field("#from").value), end = Number(field("#to").value);
  if (!(end - start >= 0.001)) throw new Error("Select a time span first: drag over the timeline, or fill in From and To.");
  return `${start.toFixed(4)}:${end.toFixed(4)}`;
}

function setLoop(loop: Span | null) {
  player.loop = loop;
  find("#loop").ariaPressed = String(Boolean(loop));
}

function setTool(tool: Tool) {
  timeline.finishPoints();
  project().tool = tool;
  show("tool");
}

function setReference(reference: ReferenceMessage | null) {
  project().reference = reference;
  showReference();
  keep(project(), report);
}
function showReference() {
  const { reference } = project();
  find("#reference-name").textContent = reference?.name ?? "";
  find("#no-reference").hidden = !reference;
}
const addReference = (file: File) => upload<ReferenceMessage>(`${project().path}/references`, file);

const regionActions = {
  render: run((region: Span) => renderRegion(project(), region)),
  loop: (region: Span) => { setLoop(region); player.seek(region.start); player.play(); },
  reference: run(async (region: { id: number }, file: File) => {
    const kept = await addReference(file);
    project().changeRegion(region.id, { reference: kept.id, referenceName: kept.name });
  }),
};

// ---- actions by button and key ----
const actions = {
  play: () => player.toggle(),
  back: () => timeline.seek(0),
  loop: () => setLoop(player.loop ? null : (project().selection ?? { start: 0, end: project().seconds })),
  undo: () => project().undo(),
  redo: () => project().redo(),
  "zoom-in": () => timeline.zoom(1.6, timeline.view.x(player.time)),
  "zoom-out": () => timeline.zoom(1 / 1.6),
  fit: () => timeline.fit(),
  "add-hit": () => timeline.addHit(player.time),
  "add-region": () => timeline.addRegion(),
  gain: () => project().edit("gain", `${span()}:${Number(field("#gain-by").value)}dB`),
  shift: () => project().edit("shift", `${span()}:${Number(field("#shift-by").value)}ms`),
  mute: () => project().edit("mute", span()),
  quantise: () => project().edit("quantise", String(project().film.frame_rate)),
  "from-predicted": () => project().start("predicted"),
  "from-audio": () => project().start("audio"),
  close: closeFilm,
  "no-reference": () => setReference(null),
  "take-envelope": () => { const take = project().chosenTake(); if (take) project().startFrom(take.obtained); },
  make: () => makeTakes(project()),
};
for (const [id, action] of Object.entries(actions)) find(`#${id}`).addEventListener("click", run(() => action()));
for (const tool of TOOLS) find(`#tool-${tool}`).addEventListener("click", () => setTool(tool));

const frames = (count: number) => () => { player.pause(); timeline.seek(player.time + count * project().frame); };
const hear = (number: number) => () => { if (project().takes.some((take) => take.number === number)) listen(project(), number); };
const keys: Record<string, () => unknown> = {
  " ": actions.play, k: () => player.pause(), j: () => player.shuttle(-1), l: () => player.shuttle(1), Home: actions.back,
  End: () => timeline.seek(project().seconds), ArrowLeft: frames(-1), ArrowRight: frames(1), a: actions["add-hit"], r: actions["add-region"],
  "Shift+r": () => {
    const { selection } = project();
    if (!selection) throw new Error("Select a time span first.");
    return renderRegion(project(), selection);
  },
  o: actions.loop, b: () => compare(project()), v: () => setTool("select"), d: () => setTool("draw"), p: () => setTool("points"),
  Enter: () => timeline.finishPoints(), "Ctrl+z": actions.undo, "Ctrl+Shift+z": actions.redo, "Ctrl+y": actions.redo,
  Escape: () => { project().points = []; project().select(0, 0); }, Delete: actions.mute, Backspace: actions.mute,
  "+": actions["zoom-in"], "=": actions["zoom-in"], "-": actions["zoom-out"], 0: actions.fit,
};
for (let number = 1; number <= 9; number += 1) keys[number] = hear(number);
const openHelp = () => find<HTMLDialogElement>("#help").showModal();
const whileShown = Object.entries(keys).map(([key, action]) => [key, () => { if (shown) run(action)(); }]);
listenToKeys({ ...Object.fromEntries(whileShown), "?": openHelp });

// ---- fields ----
/** Call `action` with the files that are chosen by a field, and empty it: the same file can be chosen again. */
function onFiles(id: string, action: (files: File[]) => unknown) {
  field(id).onchange = () => {
    const files = [...field(id).files!];
    field(id).value = "";
    if (files.length) action(files);
  };
}
onFiles("#file", openFiles);
onFiles("#load", run(async ([file]: File[]) => project().startFrom(await upload<EnvelopeMessage>(`${project().path}/envelope-file`, file))));
onFiles("#reference", run(async ([file]: File[]) => setReference(await addReference(file))));
find("#example").onclick = find("#start-example").onclick = () => openNamed({ example: true });
find("#films").onchange = run(() => switchTo(projects.get(field("#films").value)!));
let keeping: number | undefined;
find("#panels").addEventListener("input", () => {
  clearTimeout(keeping);
  keeping = window.setTimeout(() => keep(shown, report), KEEP_DELAY_MS);
});
addEventListener("pagehide", () => keep(shown, report));
for (const id of ["#from", "#to"]) field(id).addEventListener("change", () => {
  typing = true;
  project().select(Number(field("#from").value), Number(field("#to").value));
  typing = false;
});
for (const id of ["#keep-original", "#lufs", "#container"]) field(id).addEventListener("change", showLinks);
const root = document.documentElement;
find("#theme").onclick = () => {
  const dark = getComputedStyle(root).colorScheme.includes("dark");
  root.dataset.theme = localStorage.theme = dark ? "light" : "dark";
  timeline.recolour();
};
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => timeline.recolour());
find("#help-open").onclick = openHelp;
find("#folder-run").onclick = run(() => { keep(shown, report); return runFolder(shown, openOfFolder); });
document.addEventListener("dragover", (event) => { event.preventDefault(); find("#start").classList.add("over"); });
document.addEventListener("dragleave", () => find("#start").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  find("#start").classList.remove("over");
  openFiles(event.dataTransfer!.files);
});

if (["light", "dark"].includes(localStorage.theme)) root.dataset.theme = localStorage.theme;
run(async () => {
  showHelp(find("#help-table"));
  connectDesk(player, showLinks);
  server = await get("/api");
  field("#count").max = String(server.max_takes);
  field("#steps").value = String(server.steps);
  field("#guidance").value = String(server.guidance);
  find("#example").hidden = find("#start-example").hidden = !server.has_example;
  showLimits();
  if (server.has_folder) await showFolder(openOfFolder);
  try { await comeBack(); } finally { document.body.dataset.ready = "true"; }
})();
