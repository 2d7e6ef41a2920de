// The panels below the timeline: sound, takes, regions, export.

import { follow, post, remove } from "./api";
import { element, field, find } from "./page";
import type { JobMessage, ProjectMessage, TakeMessage, TakesRequest } from "./messages";
import type { Player } from "./player";
import type { Project, Region } from "./project";
import type { Span } from "./view";

const EXPORTS: Record<string, string> = {
  film: "Film", sound: "WAV", stems: "Stems", midi: "MIDI", markers: "Reaper markers", edl: "EDL", otio: "OTIO",
  envelope: "Envelope", all: "All (ZIP)",
};

const nameOf = (control: Element) => control.ariaLabel || control.textContent;

/** Replace a list's items; the focus stays on the control of the same name. */
function fill(list: HTMLElement, items: HTMLElement[]) {
  const focused = list.contains(document.activeElement) && nameOf(document.activeElement!);
  list.replaceChildren(...items);
  if (!focused) return;
  const controls = [...list.querySelectorAll<HTMLElement>("button, input")];
  controls.find((control) => nameOf(control) === focused)?.focus({ preventScroll: true });
}

// ---- sound ----
/** What the sound panel and the regions say of a sound, as the server takes it. */
export type SoundOptions = Omit<TakesRequest, "envelope" | "count">;
export type SoundFields = Omit<SoundOptions, "segments"> & Pick<TakesRequest, "count">;

const FIELDS: Record<string, (kept: SoundFields) => string | number | null> = {
  "#prompt": (kept) => kept.prompt, "#negative": (kept) => kept.negative_prompt, "#seed": (kept) => kept.seed,
  "#steps": (kept) => kept.steps, "#guidance": (kept) => kept.guidance, "#count": (kept) => kept.count,
  "#w-envelope": (kept) => kept.control_scale, "#w-video": (kept) => kept.weights.video,
  "#w-text": (kept) => kept.weights.text, "#w-audio": (kept) => kept.weights.audio,
};

/** Fill the sound panel with what is kept of a film. */
export function fillSound(kept: SoundFields) {
  for (const [id, value] of Object.entries(FIELDS)) field(id).value = String(value(kept) ?? "");
}

export function soundOptions(project: Project): SoundOptions {
  const number = (id: string) => (field(id).value === "" ? null : Number(field(id).value));
  const weight = (id: string) => number(id) ?? Number(field(id).defaultValue);
  return {
    prompt: field("#prompt").value || null,
    negative_prompt: field("#negative").value || null,
    reference: project.reference?.id ?? null,
    weights: { video: weight("#w-video"), text: weight("#w-text"), audio: weight("#w-audio") },
    control_scale: weight("#w-envelope"),
    seed: number("#seed") ?? 0,
    steps: number("#steps"),
    guidance: number("#guidance"),
    segments: project.regions.filter((region) => region.prompt || region.reference)
      .map(({ start, end, prompt, reference }) => ({ start, end, prompt: prompt || null, reference })),
  };
}
export const takesToMake = () => Number(field("#count").value) || 1;

/** The editor's state of a film, for the server to keep. */
export function stateOf(project: Project): ProjectMessage {
  const { envelope = null, source = null, edits, reference, take, other } = project;
  const segments = project.regions.map(({ start, end, prompt, reference, referenceName }) =>
    ({ start, end, prompt, reference, reference_name: referenceName }));
  return { ...soundOptions(project), count: takesToMake(), segments, envelope, source, edits, reference_name: reference?.name ?? "", take, other };
}

// ---- takes ----
export async function makeTakes(project: Project) {
  await project.pending;
  const body = { ...soundOptions(project), envelope: project.envelope, count: Number(field("#count").value) };
  const known = project.takes.length;
  const job = await post<JobMessage>(`${project.path}/takes`, body);
  let seen = 0;
  const made = await follow<number[]>(job, project.film.name, async (now) => {
    const finished = Math.floor(now.progress * body.count + 1e-6);
    if (finished > seen) { seen = finished; await project.refreshTakes(); }
  });
  await project.refreshTakes();
  if (made && (!known || !project.take)) listen(project, bestOf(project, made));
}

/** Show the progress of a job that began before the page was loaded. */
export async function resume(project: Project, job: JobMessage) {
  const made = await follow<number[]>(job, project.film.name, () => project.refreshTakes());
  await project.refreshTakes();
  if (made && !project.take) listen(project, bestOf(project, made));
}

const bestOf = (project: Project, numbers: number[]) =>
  project.takes.filter((take) => numbers.includes(take.number)).sort((a, b) => a.rank - b.rank)[0].number;

export async function renderRegion(project: Project, { start, end }: Span) {
  if (!project.take) throw new Error("Make a take first: a region of it is rendered again.");
  await project.pending;
  const seed = Math.floor(Math.random() * 2 ** 31);
  const body = { ...soundOptions(project), envelope: project.envelope, start, end, seed };
  const job = await post<JobMessage>(`${project.path}/takes/${project.take}/region`, body);
  const made = await follow<number[]>(job, `${project.film.name}, ${start.toFixed(2)}–${end.toFixed(2)} s`);
  await project.refreshTakes();
  if (made) listen(project, made[0]);
}

/** Hear a take; the one heard before stays at hand for A/B. */
export function listen(project: Project, number: number) {
  if (project.take !== number) project.other = project.take;
  project.take = number;
  project.changed("takes");
  const panel = find("#takes-panel"), item = panel.querySelector<HTMLElement>(".chosen");
  if (item) panel.scrollTop = item.offsetTop - panel.offsetTop - (panel.clientHeight - item.offsetHeight) / 2; // where the list scrolls
}

export function compare(project: Project) {
  const other = project.other ?? project.takes.find((take) => take.number !== project.take)?.number;
  if (other) listen(project, other);
}

function scores({ score, seed }: TakeMessage) {
  const parts = [
    `E-L1 ${(100 * score.relative_l1).toFixed(0)}%`, score.lag_ms === null ? "" : `lag ${Math.round(score.lag_ms) || 0} ms`,
    score.leak_db === null ? "" : `leak ${score.leak_db.toFixed(0)} dB`, `GRAM volume ${score.volume.toFixed(3)}`, `seed ${seed}`,
  ];
  return parts.filter(Boolean).join(" · ").replaceAll("-", "−").replace("E−L1", "E-L1");
}

export function showTakes(project: Project) {
  find("#no-takes").hidden = project.takes.length > 0;
  fill(find("#takes"), project.takes.map((take) => {
    const { number, rank, region } = take, chosen = number === project.take;
    const badge = project.takes.length < 2 ? "" : rank === 1 ? " · best score" : ` · rank ${rank}`;
    const origin = region ? ` · take ${take.parent} with ${region.map((t) => t.toFixed(2)).join("–")} s anew` : "";
    const hear = element("button", {
      textContent: `Take ${number}`, className: "hear", ariaPressed: String(chosen), onclick: () => listen(project, number),
    });
    const gone = element("button", {
      textContent: "Remove", ariaLabel: `Remove take ${number}`,
      onclick: async () => { await remove(`${project.path}/takes/${number}`); await project.refreshTakes(); },
    });
    const item = element("li", { className: chosen ? "chosen" : "" }, hear, element("span", { textContent: badge + origin, className: "note" }),
      gone, element("span", { className: "note score", textContent: scores(take) }));
    item.dataset.take = String(number);
    return item;
  }));
}

// ---- regions ----
export interface RegionActions {
  render(region: Region): void;
  loop(region: Region): void;
  reference(region: Region, file: File): void;
}

export function showRegions(project: Project, actions: RegionActions) {
  const list = find("#regions"), focused = document.activeElement;
  find("#no-regions").hidden = project.regions.length > 0;
  if (list.contains(focused) && focused!.matches("input.text")) return; // being typed in
  fill(list, project.regions.map((region, index) => regionItem(project, region, `region ${index + 1}`, actions)));
}

function regionItem(project: Project, region: Region, name: string, actions: RegionActions) {
  const change = (changed: Partial<Region>) => project.changeRegion(region.id, changed);
  const button = (text: string, onclick: () => void, ariaLabel = `${text}: ${name}`) => element("button", { textContent: text, onclick, ariaLabel });
  const time = (side: "start" | "end") => {
    const made = element("input", {
      type: "number", step: "0.01", min: "0", value: region[side].toFixed(3),
      ariaLabel: `${side === "start" ? "Start" : "End"} of ${name}, seconds`,
    });
    made.onchange = () => setTimeout(() => change({ [side]: Number(made.value) })); // once Tab has moved the focus
    return made;
  };
  const prompt = element("input", {
    className: "text", value: region.prompt, placeholder: "prompt of the region", ariaLabel: `Prompt of ${name}`,
    onchange: () => { prompt.blur(); change({ prompt: prompt.value }); },
  });
  const file = element("input", { type: "file", accept: "audio/*,video/*", onchange: () => actions.reference(region, file.files![0]) });
  const reference = element("label", { className: "button" }, region.referenceName || "Reference", file);
  const without = button("✕", () => change({ reference: null, referenceName: "" }), `Remove the reference of ${name}`);
  return element("li", {}, time("start"), "–", time("end"), prompt, reference, ...(region.reference ? [without] : []),
    button("Render again", () => actions.render(region)), button("Loop", () => actions.loop(region)),
    button("Remove", () => project.removeRegion(region.id)));
}

// ---- export ----
export function showExports(project: Project, player: Player, kinds: string[]) {
  const options = new URLSearchParams();
  if (field("#keep-original").checked) options.set("original_db", String(Math.max(-40, player.decibels.original)));
  if (field("#lufs").value !== "") options.set("lufs", field("#lufs").value);
  options.set("container", field("#container").value);
  find("#exports").replaceChildren(...(project.take ? kinds : ["Make a take first."]).map((kind) => {
    if (!project.take) return kind;
    options.set("kind", kind);
    return element("a", {
      className: "button", textContent: EXPORTS[kind] ?? kind, download: "", href: `${project.path}/takes/${project.take}/export?${options}`,
    });
  }));
}
