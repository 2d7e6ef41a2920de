// What is being edited: the film, its envelope and regions with undo and redo, its takes, the selection.

import { get, post } from "./api";
import type { EnvelopeMessage, FilmMessage, ProjectMessage, ReferenceMessage, TakeMessage } from "./messages";
import type { SoundFields } from "./panels";
import type { Span } from "./view";

const MAX_STEPS = 500, MIN_REGION_SEC = 0.02;

export type Tool = "select" | "draw" | "points";
/** Seconds and linear RMS. */
export type Point = [number, number];
export interface Region extends Span { id: number; prompt: string; reference: string | null; referenceName: string }
/** A state that undo comes back to; `source` is the envelope before `edits`, which are written as on the command line. */
interface Step { envelope: EnvelopeMessage; source: EnvelopeMessage; edits: string[]; regions: Region[] }

export class Project extends EventTarget {
  takes: TakeMessage[] = [];
  take: number | null = null; // number of the take that is heard
  other: number | null = null; // number of the take heard before, for A/B
  reference: ReferenceMessage | null = null;
  selection: Span | null = null;
  tool: Tool = "select";
  points: Point[] = []; // of the line that is being drawn
  fields: SoundFields | null = null; // of the sound panel, while another film is shown
  pending: Promise<unknown> = Promise.resolve();
  private steps: Step[] = [];
  private at = -1;

  constructor(readonly film: FilmMessage) { super(); }

  get path() { return `/api/films/${this.film.id}`; }
  get seconds() { return this.film.seconds; }
  get frame() { return this.film.frame_rate > 0 ? 1 / this.film.frame_rate : 0.04; }
  get now(): Step | undefined { return this.steps[this.at]; }
  get envelope() { return this.now?.envelope; }
  get regions() { return this.now?.regions ?? []; }
  get source() { return this.now?.source; }
  get edits() { return this.now?.edits ?? []; }
  get canUndo() { return this.at > 0; }
  get canRedo() { return this.at < this.steps.length - 1; }

  changed(what = "edit") { this.dispatchEvent(new CustomEvent("change", { detail: what })); }

  /** Append a step, which differs from the one before by `change`; the first is whole but for regions. */
  private step(change: Partial<Step>) {
    this.steps.splice(this.at + 1);
    this.steps.push({ regions: [], ...this.now, ...change } as Step);
    if (this.steps.length > MAX_STEPS) this.steps.splice(1, 1);
    this.at = this.steps.length - 1;
    this.changed();
  }

  undo() { if (this.canUndo) { this.at -= 1; this.changed(); } }
  redo() { if (this.canRedo) { this.at += 1; this.changed(); } }

  /** Apply an edit of the command line to the envelope, after the edits that are still being applied. */
  edit(name: string, text: string) {
    const done = this.pending.then(async () => {
      const envelope = await post<EnvelopeMessage>(`${this.path}/edit`, { envelope: this.envelope, edits: [{ name, text }] });
      this.step({ envelope, edits: [...this.edits, `--${name} ${text}`] });
    });
    this.pending = done.catch(() => {});
    return done;
  }

  /** Begin where the server says that the editor stood; returns what it keeps, or null. */
  async restore() {
    const kept = await get<ProjectMessage | null>(`${this.path}/project`);
    if (!kept?.envelope) return null;
    const { envelope, source, edits, take, other } = kept;
    const regions = kept.segments.map(({ start, end, prompt, reference, reference_name }) =>
      ({ ...newRegion(start, end), prompt: prompt ?? "", reference, referenceName: reference_name }));
    this.reference = kept.reference ? { id: kept.reference, name: kept.reference_name } : null;
    Object.assign(this, { take, other });
    this.step({ envelope, source: (edits.length && source) || envelope, edits, regions });
    return kept;
  }

  /** Begin anew from the envelope that the server predicts or measures. */
  async start(source: "predicted" | "audio") { this.startFrom(await get(`${this.path}/envelope?source=${source}`)); }

  startFrom(envelope: EnvelopeMessage) { this.step({ envelope, source: envelope, edits: [] }); }

  /** Replace the regions; they are sorted and kept from overlapping. */
  setRegions(regions: Region[]) {
    let reached = 0;
    const kept = [];
    for (const region of [...regions].sort((a, b) => a.start - b.start)) {
      const start = Math.max(region.start, reached), end = Math.min(region.end, this.seconds);
      if (end - start < MIN_REGION_SEC) continue;
      kept.push({ ...region, start, end });
      reached = end;
    }
    this.step({ regions: kept });
  }

  changeRegion(id: number, change: Partial<Region>) {
    this.setRegions(this.regions.map((region) => (region.id === id ? { ...region, ...change } : region)));
  }

  removeRegion(id: number) { this.setRegions(this.regions.filter((region) => region.id !== id)); }

  select(start: number, end: number) {
    const clamp = (time: number) => Math.min(this.seconds, Math.max(0, time));
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
export const newRegion = (start: number, end: number): Region =>
  ({ id: ++lastRegion, start, end, prompt: "", reference: null, referenceName: "" });
