// The panels below the timeline: sound, takes, regions, export.

import { follow, post, remove, upload } from "./api.js";

const $ = (selector) => document.querySelector(selector);
const EXPORTS = {
  film: "Film", sound: "WAV", stems: "Stems", midi: "MIDI", markers: "Reaper markers", edl: "EDL", otio: "OTIO",
  envelope: "Envelope", all: "All (ZIP)",
};

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

const nameOf = (control) => control.ariaLabel || control.textContent;

/** Replace a list's items; the focus stays on the control of the same name. */
function fill(list, items) {
  const focused = list.contains(document.activeElement) && nameOf(document.activeElement);
  list.replaceChildren(...items);
  if (focused) [...list.querySelectorAll("button, input")].find((control) => nameOf(control) === focused)?.focus({ preventScroll: true });
}

const FIELDS = {
  "#prompt": (kept) => kept.prompt, "#negative": (kept) => kept.negative_prompt, "#seed": (kept) => kept.seed,
  "#steps": (kept) => kept.steps, "#guidance": (kept) => kept.guidance, "#count": (kept) => kept.count,
  "#w-envelope": (kept) => kept.control_scale, "#w-video": (kept) => kept.weights.video,
  "#w-text": (kept) => kept.weights.text, "#w-audio": (kept) => kept.weights.audio,
};

/** Fill the sound panel with what the server keeps of a film. */
export function fillSound(kept) {
  for (const [id, value] of Object.entries(FIELDS)) $(id).value = value(kept) ?? "";
}

/** The fields of the sound panel and the regions, as the server takes them. */
export function soundOptions(project) {
  const number = (id) => ($(id).value === "" ? null : Number($(id).value));
  const weight = (id) => number(id) ?? Number($(id).defaultValue);
  return {
    prompt: $("#prompt").value || null,
    negative_prompt: $("#negative").value || null,
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

export async function makeTakes(project) {
  await project.pending;
  const body = { ...soundOptions(project), envelope: project.envelope, count: Number($("#count").value) };
  const known = project.takes.length;
  const job = await post(`${project.path}/takes`, body);
  let seen = 0;
  const made = await follow(job, project.film.name, async (now) => {
    const finished = Math.floor(now.progress * body.count + 1e-6);
    if (finished > seen) { seen = finished; await project.refreshTakes(); }
  });
  await project.refreshTakes();
  if (made && (!known || !project.take)) await listen(project, bestOf(project, made));
}

/** Show the progress of a job that began before the page was loaded. */
export async function resume(project, job) {
  const made = await follow(job, project.film.name, () => project.refreshTakes());
  await project.refreshTakes();
  if (made && !project.take) await listen(project, bestOf(project, made));
}

const bestOf = (project, numbers) =>
  project.takes.filter((take) => numbers.includes(take.number)).sort((a, b) => a.rank - b.rank)[0].number;

export async function renderRegion(project, region, report) {
  try {
    if (!project.take) throw new Error("Make a take first: a region of it is rendered again.");
    await project.pending;
    const seed = Math.floor(Math.random() * 2 ** 31);
    const body = { ...soundOptions(project), envelope: project.envelope, start: region.start, end: region.end, seed };
    const job = await post(`${project.path}/takes/${project.take}/region`, body);
    const made = await follow(job, `${project.film.name}, ${region.start.toFixed(2)}–${region.end.toFixed(2)} s`);
    await project.refreshTakes();
    if (made) await listen(project, made[0]);
  } catch (error) { report(error); }
}

/** Hear a take; the one heard before stays at hand for A/B. */
export async function listen(project, number) {
  if (project.take !== number) project.other = project.take;
  project.take = number;
  project.changed("takes");
  const panel = $("#takes-panel"), item = $("#takes .chosen");
  if (item) panel.scrollTop = item.offsetTop - panel.offsetTop - (panel.clientHeight - item.offsetHeight) / 2; // where the list scrolls
}

export function compare(project) {
  const other = project.other ?? project.takes.find((take) => take.number !== project.take)?.number;
  if (other) return listen(project, other);
}

export function showTakes(project) {
  const ranked = project.takes.length > 1;
  $("#no-takes").hidden = project.takes.length > 0;
  fill($("#takes"), project.takes.map((take) => {
    const { score } = take, chosen = take.number === project.take;
    const badge = !ranked ? "" : take.rank === 1 ? " · best score" : ` · rank ${take.rank}`;
    const origin = take.region ? ` · take ${take.parent} with ${take.region.map((t) => t.toFixed(2)).join("–")} s anew` : "";
    const hear = element("button", { textContent: `Take ${take.number}`, className: "hear" });
    hear.setAttribute("aria-pressed", String(chosen));
    hear.onclick = () => listen(project, take.number);
    const gone = element("button", { textContent: "Remove" });
    gone.setAttribute("aria-label", `Remove take ${take.number}`);
    gone.onclick = async () => { await remove(`${project.path}/takes/${take.number}`); await project.refreshTakes(); };
    const parts = [
      `E-L1 ${(100 * score.relative_l1).toFixed(0)}%`, score.lag_ms === null ? "" : `lag ${Math.round(score.lag_ms) || 0} ms`,
      score.leak_db === null ? "" : `leak ${score.leak_db.toFixed(0)} dB`, `GRAM volume ${score.volume.toFixed(3)}`, `seed ${take.seed}`,
    ].filter(Boolean).join(" · ").replaceAll("-", "−").replace("E−L1", "E-L1");
    const item = element("li", { className: chosen ? "chosen" : "" }, hear, element("span", { textContent: badge + origin, className: "note" }),
      gone, element("span", { className: "note score", textContent: parts }));
    item.dataset.take = take.number;
    return item;
  }));
}

export function showRegions(project, actions) {
  $("#no-regions").hidden = project.regions.length > 0;
  if ($("#regions").contains(document.activeElement) && document.activeElement.matches("input.text")) return; // being typed in
  fill($("#regions"), project.regions.map((region, index) => {
    const name = `region ${index + 1}`;
    const button = (text, run) => {
      const made = element("button", { textContent: text, onclick: run });
      made.setAttribute("aria-label", `${text}: ${name}`);
      return made;
    };
    const time = (side) => {
      const field = element("input", { type: "number", step: 0.01, min: 0, value: region[side].toFixed(3) });
      field.setAttribute("aria-label", `${side === "start" ? "Start" : "End"} of ${name}, seconds`);
      field.onchange = () => setTimeout(() => project.changeRegion(region.id, { [side]: Number(field.value) })); // once Tab has moved the focus
      return field;
    };
    const prompt = element("input", { className: "text", value: region.prompt, placeholder: "prompt of the region" });
    prompt.setAttribute("aria-label", `Prompt of ${name}`);
    prompt.onchange = () => { prompt.blur(); project.changeRegion(region.id, { prompt: prompt.value }); };
    const file = element("input", { type: "file", accept: "audio/*,video/*" });
    file.onchange = () => actions.reference(region, file.files[0]);
    const reference = element("label", { className: "button" }, region.referenceName || "Reference", file);
    const without = region.reference ? [button("✕", () => project.changeRegion(region.id, { reference: null, referenceName: "" }))] : [];
    without[0]?.setAttribute("aria-label", `Remove the reference of ${name}`);
    const item = element("li", {}, time("start"), "–", time("end"), prompt, reference, ...without,
      button("Render again", () => actions.render(region)), button("Loop", () => actions.loop(region)),
      button("Remove", () => project.setRegions("region", project.regions.filter((other) => other.id !== region.id))));
    item.dataset.id = region.id;
    return item;
  }));
}

export function showExports(project, player, kinds) {
  const options = new URLSearchParams();
  if ($("#keep-original").checked) options.set("original_db", Math.max(-40, player.decibels.original));
  if ($("#lufs").value !== "") options.set("lufs", $("#lufs").value);
  options.set("container", $("#container").value);
  $("#exports").replaceChildren(...(project.take ? kinds : []).map((kind) => {
    options.set("kind", kind);
    return element("a", { className: "button", textContent: EXPORTS[kind] ?? kind, download: "", href: `${project.path}/takes/${project.take}/export?${options}` });
  }));
  if (!project.take) $("#exports").textContent = "Make a take first.";
}

export async function addReference(project, file) {
  return upload(`${project.path}/references`, file);
}
