// Bodies of the server's requests and answers. Written by frontend/messages.py; do not edit.

/** An edit as on the command line: `--mute 1.0:1.5` is name `mute`, text `1.0:1.5` (docs/envelope.md). */
export interface Edit {
  name: string;
  text: string;
}

/** Edits for an envelope, applied in this order. */
export interface EditRequest {
  envelope: EnvelopeMessage;
  edits: Edit[];
}

/** Linear RMS values, the first at 0 s, `rate` values per second, and the hits in it. */
export interface EnvelopeMessage {
  rate: number;
  values: number[];
  hits: HitMessage[] | null;
}

/** An open film; sizes in pixels as displayed. */
export interface FilmMessage {
  id: string;
  name: string;
  seconds: number;
  frame_rate: number;
  width: number;
  height: number;
  video_codec: string;
  has_sound: boolean;
  takes: number;
}

/** A film of the server's folder, the state of its result, and the result's files. */
export interface FolderFilm {
  name: string;
  state: "todo" | "done" | "failed";
  reason: string;
  files: string[];
}

/** A hit: time in seconds, linear RMS at its peak, seconds until it is 20 dB down. */
export interface HitMessage {
  time: number;
  level: number;
  decay: number;
}

/** A job: progress from 0 to 1, and the numbers of the takes that it has made so far. */
export interface JobMessage {
  id: string;
  kind: string;
  film: string | null;
  state: "waiting" | "running" | "done" | "failed" | "cancelled";
  progress: number;
  text: string;
  result: unknown;
  error: string | null;
}

/** A film of the server's folder by its name, or the example. */
export interface OpenRequest {
  name: string | null;
  example: boolean;
}

/** The state of the editor for a film: what takes are made from, and how the envelope came about. */
export interface ProjectMessage {
  prompt: string | null;
  negative_prompt: string | null;
  reference: string | null;
  weights: WeightsMessage;
  segments: RegionMessage[];
  seed: number;
  steps: number | null;
  guidance: number | null;
  control_scale: number;
  envelope: EnvelopeMessage | null;
  count: number;
  reference_name: string;
  source: EnvelopeMessage | null;
  edits: string[];
  take: number | null;
  other: number | null;
}

/** Films of the server's folder to generate sound for, by name; none means all.

A film whose editor's state the server keeps is made with that state, every other with these options; `reference`
is a sound that was uploaded for the open film `film`. */
export interface QueueRequest {
  prompt: string | null;
  negative_prompt: string | null;
  reference: string | null;
  weights: WeightsMessage;
  segments: SegmentMessage[];
  seed: number;
  steps: number | null;
  guidance: number | null;
  control_scale: number;
  names: string[] | null;
  takes: number;
  overwrite: boolean;
  film: string | null;
}

/** An uploaded reference sound. */
export interface ReferenceMessage {
  id: string;
  name: string;
}

/** A region of the editor, also without prompt and reference; `reference_name` is the name of the uploaded file. */
export interface RegionMessage {
  start: number;
  end: number;
  prompt: string | null;
  reference: string | null;
  reference_name: string;
}

/** A region of a take to render again, in seconds; the rest of the take is kept sample for sample. */
export interface RegionRequest {
  prompt: string | null;
  negative_prompt: string | null;
  reference: string | null;
  weights: WeightsMessage;
  segments: SegmentMessage[];
  seed: number;
  steps: number | null;
  guidance: number | null;
  control_scale: number;
  envelope: EnvelopeMessage | null;
  count: 1;
  start: number;
  end: number;
}

/** Scores of a take; null for what cannot be measured. */
export interface ScoreMessage {
  relative_l1: number;
  lag_ms: number | null;
  leak_db: number | null;
  volume: number;
}

/** A region of the film, in seconds, with its own prompt or reference sound. */
export interface SegmentMessage {
  start: number;
  end: number;
  prompt: string | null;
  reference: string | null;
}

/** Version, device and limits of the server. */
export interface ServerMessage {
  version: string;
  checkpoint: string;
  device: string;
  max_seconds: number;
  max_megabytes: number;
  max_takes: number;
  steps: number;
  guidance: number;
  has_example: boolean;
  has_folder: boolean;
  exports: string[];
}

/** A take: rank 1 is the best; `parent` and `region` name the take and region that it was rendered from. */
export interface TakeMessage {
  number: number;
  seed: number;
  rank: number;
  score: ScoreMessage;
  envelope: EnvelopeMessage;
  obtained: EnvelopeMessage;
  stems: number;
  parent: number | null;
  region: [number, number] | null;
}

/** Takes to generate; without an envelope the predicted one is used. */
export interface TakesRequest {
  prompt: string | null;
  negative_prompt: string | null;
  reference: string | null;
  weights: WeightsMessage;
  segments: SegmentMessage[];
  seed: number;
  steps: number | null;
  guidance: number | null;
  control_scale: number;
  envelope: EnvelopeMessage | null;
  count: number;
}

/** Weight of each condition; 0 leaves it out. */
export interface WeightsMessage {
  video: number;
  text: number;
  audio: number;
}
