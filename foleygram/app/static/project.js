// What is being edited: the film, its envelope and regions with undo and redo, its takes, the selection.

import { get, post } from "./api.js";

const MAX_STEPS = 500;

export class Project extends EventTarget {
  constructor(film) {
    super();
    this.film = film;
    this.takes = [];
    this.take = null; // number of the take that is heard
    this.other = null; // number of the take heard before, for A/B
    this.reference = null; // the uploaded sound: {id, name}
    this.selection = null; // {start, end} in seconds
    this.tool = "select";
    this.points = []; // of the polyline being drawn: [seconds, level]
    this.steps = [];
    this.at = -1;
    this.pending = Promise.resolve();
  }

  get path() { return `/api/films/${this.film.id}`; }
  get seconds() { return this.film.seconds; }
  get frame() { return this.film.frame_rate > 0 ? 1 / this.film.frame_rate : 0.04; }
  get now() { return this.steps[this.at]; }
  get envelope() { return this.now?.envelope; }
  get regions() { return this.now?.regions ?? []; }
  get source() { return this.now?.source; }
  get canUndo() { return this.at > 0; }
  get canRedo() { return this.at < this.steps.length - 1; }

  changed(what = "edit") { this.dispatchEvent(new CustomEvent("change", { detail: what })); }

  /** Append a step: an envelope, regions or both; `edit` is its form on the command line. */
  step(label, { envelope = this.envelope, regions = this.regions, source = this.source, edits, edit } = {}) {
    const before = this.now?.edits ?? [];
    this.steps.splice(this.at + 1);
    this.steps.push({ label, envelope, regions, source, edits: edits ?? (edit ? [...before, edit] : before) });
    if (this.steps.length > MAX_STEPS) this.steps.splice(1, 1);
    this.at = this.steps.length - 1;
    this.changed();
  }

  undo() { if (this.canUndo) { this.at -= 1; this.changed(); } }
  redo() { if (this.canRedo) { this.at += 1; this.changed(); } }

  /** Apply an edit of the command line to the envelope, after the edits that are still being applied. */
  edit(name, text) {
    const done = this.pending.then(async () => {
      const body = { envelope: this.envelope, edits: [{ name, text }] };
      const envelope = await post(`${this.path}/edit`, body);
      this.step(name, { envelope, edit: `--${name} ${text}` });
    });
    this.pending = done.catch(() => {});
    return done;
  }

  /** Begin where the server says that the editor stood; returns what it keeps, or null. */
  async restore() {
    const kept = await get(`${this.path}/project`);
    if (!kept?.envelope) return null;
    const regions = kept.segments.map(({ start, end, prompt, reference, reference_name }) =>
      ({ ...newRegion(start, end), prompt: prompt ?? "", reference, referenceName: reference_name }));
    this.reference = kept.reference ? { id: kept.reference, name: kept.reference_name } : null;
    Object.assign(this, { take: kept.take, other: kept.other });
    this.step("kept", { envelope: kept.envelope, source: kept.edits.length ? kept.source : kept.envelope, regions, edits: kept.edits });
    return kept;
  }

  /** Begin anew from the envelope that `source` names. */
  async start(source) {
    const envelope = await get(`${this.path}/envelope?source=${source}`);
    this.step(source, { envelope, source: envelope, edits: [] });
  }

  startFrom(label, envelope) { this.step(label, { envelope, source: envelope, edits: [] }); }

  /** Replace the regions; they are sorted and kept from overlapping. */
  setRegions(label, regions) {
    const sorted = [...regions].sort((a, b) => a.start - b.start);
    let reached = 0;
    const kept = [];
    for (const region of sorted) {
      const start = Math.max(region.start, reached), end = Math.min(region.end, this.seconds);
      if (end - start < 0.02) continue;
      kept.push({ ...region, start, end });
      reached = end;
    }
    this.step(label, { regions: kept });
  }

  changeRegion(id, change) {
    this.setRegions("region", this.regions.map((region) => (region.id === id ? { ...region, ...change } : region)));
  }

  select(start, end) {
    const clamp = (time) => Math.min(this.seconds, Math.max(0, time));
    const [first, last] = [clamp(Math.min(start, end)), clamp(Math.max(start, end))];
    this.selection = last - first > 0.001 ? { start: first, end: last } : null;
    this.changed("selection");
  }

  chosenTake() { return this.takes.find((take) => take.number === this.take) ?? null; }

  async refreshTakes() {
    this.takes = await get(`${this.path}/takes`);
    if (!this.chosenTake()) this.take = null;
    if (!this.takes.some((take) => take.number === this.other)) this.other = null;
    this.changed("takes");
  }
}

let lastRegion = 0;
export const newRegion = (start, end) => ({ id: ++lastRegion, start, end, prompt: "", reference: null, referenceName: "" });
