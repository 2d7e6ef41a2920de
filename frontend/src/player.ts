// Plays the film in sync with sound: the audio clock leads, the silent video follows it. wavesurfer.js would play each
// sound as a media element of its own, which drift apart and play neither backwards nor through the faders and meter.

import { busy } from "./api";
import type { Span } from "./view";

const PEAK_HOP = 64, QUIETEST_TOP = 0.1, FADE_SEC = 0.01, TOLERANCE_SEC = 0.06, SILENT_DB = -40;

export const TRACKS = ["take", "original"] as const;
export type Track = (typeof TRACKS)[number];
/** Decoded samples, and the highest level of every PEAK_HOP of them from 0 to 1, until the film's end. */
export interface Sound { buffer: AudioBuffer; peaks: Float32Array }
export type Sounds = Record<Track, Sound | null>;
interface Graph { context: AudioContext; meter: AnalyserNode; faders: Record<Track, GainNode> }

export class Player extends EventTarget {
  seconds = 0;
  speed = 0; // 0: stopped; negative: backwards
  loop: Span | null = null;
  readonly sounds: Sounds = { take: null, original: null };
  readonly decibels = { take: 0, original: SILENT_DB };
  private position = 0; // where it stands, or where playing began
  private began = 0; // when playing began, on the clock that is used
  private made?: Graph;
  private playing: Partial<Record<Track, AudioBufferSourceNode>> = {};
  private loading: Partial<Record<Track, symbol>> = {};

  constructor(private readonly video: HTMLVideoElement) {
    super();
    const tick = () => { this.follow(); requestAnimationFrame(tick); };
    requestAnimationFrame(tick);
  }

  /** Made by the first use: the fader of each sound, then the meter. */
  private get graph(): Graph {
    if (!this.made) {
      const context = new AudioContext(), meter = new AnalyserNode(context, { fftSize: 2048 });
      meter.connect(context.destination);
      const fader = (name: Track) => {
        const node = new GainNode(context, { gain: gain(this.decibels[name]) });
        node.connect(meter);
        return node;
      };
      this.made = { context, meter, faders: { take: fader("take"), original: fader("original") } };
    }
    return this.made;
  }

  /** Seconds on the clock that playing follows: the sound's, or backwards, without sound, the page's. */
  private clock(speed: number) { return speed > 0 ? this.graph.context.currentTime : performance.now() / 1000; }

  get time() {
    if (!this.speed) return this.position;
    const passed = Math.max(0, this.clock(this.speed) - this.began);
    return Math.min(this.seconds, Math.max(0, this.position + passed * this.speed));
  }

  /** Load a sound from the server; null removes it. */
  async load(name: Track, url: string | null) {
    const token = (this.loading[name] = Symbol(name));
    const sound = url ? await busy(this.read(url)) : null;
    if (this.loading[name] !== token) return; // another was asked for meanwhile
    this.sounds[name] = sound;
    if (this.speed > 0) this.begin(name, this.time);
    this.dispatchEvent(new Event("sound"));
  }

  private async read(url: string): Promise<Sound | null> {
    const response = await fetch(url);
    if (!response.ok) return null;
    const buffer = await this.graph.context.decodeAudioData(await response.arrayBuffer());
    return { buffer, peaks: peaksOf(buffer, this.seconds) };
  }

  setFader(name: Track, decibels: number) {
    this.decibels[name] = decibels;
    this.made?.faders[name].gain.setTargetAtTime(gain(decibels), this.made.context.currentTime, FADE_SEC);
  }

  async play(speed = 1) {
    const at = this.time >= this.seconds - 0.01 && speed > 0 ? (this.loop?.start ?? 0) : this.time;
    this.halt();
    const { context } = this.graph;
    if (context.state !== "running") await context.resume();
    Object.assign(this, { position: at, speed, began: this.clock(speed) });
    if (speed > 0) {
      for (const name of TRACKS) this.begin(name, at);
      this.video.currentTime = at;
      this.video.playbackRate = Math.min(16, speed);
      this.video.play().catch(() => {});
    }
    this.dispatchEvent(new Event("state"));
  }

  pause() {
    const at = this.time;
    this.halt();
    this.position = at;
    this.dispatchEvent(new Event("state"));
  }

  toggle() { return this.speed ? this.pause() : this.play(); }

  /** J and L: each press goes faster in that direction. */
  shuttle(direction: 1 | -1) {
    const same = Math.sign(this.speed) === direction;
    return this.play(same ? Math.max(-8, Math.min(8, this.speed * 2)) : direction);
  }

  seek(time: number) {
    const speed = this.speed;
    this.halt();
    this.position = Math.min(this.seconds, Math.max(0, time));
    this.video.currentTime = this.position;
    if (speed) this.play(speed);
  }

  private begin(name: Track, at: number) {
    const { context, faders } = this.graph, sound = this.sounds[name];
    this.playing[name]?.stop(context.currentTime + FADE_SEC);
    delete this.playing[name];
    if (!sound || at >= sound.buffer.duration) return;
    const node = new AudioBufferSourceNode(context, { buffer: sound.buffer, playbackRate: this.speed });
    node.connect(faders[name]);
    node.start(0, at);
    this.playing[name] = node;
  }

  private halt() {
    this.speed = 0;
    for (const name of TRACKS) this.playing[name]?.stop();
    this.playing = {};
    this.video.pause();
  }

  /** Once per frame of the screen: loop, stop at the ends, keep the video on the audio clock. */
  private follow() {
    if (!this.speed) return;
    const { video, speed, loop, time } = this;
    if (loop && speed > 0 && (time >= loop.end || time < loop.start - 0.05)) this.seek(loop.start);
    else if ((time >= this.seconds && speed > 0) || (time <= 0 && speed < 0)) this.pause();
    else if (speed < 0) video.currentTime = time;
    else {
      const heard = time - (this.graph.context.outputLatency || 0) * speed;
      if (!video.seeking && Math.abs(video.currentTime - heard) > TOLERANCE_SEC * Math.max(1, speed)) video.currentTime = Math.max(0, heard);
    }
    this.dispatchEvent(new Event("time"));
  }

  /** Peak of what is heard now, in dB. */
  level() {
    if (!this.made || this.speed <= 0) return -Infinity;
    const samples = new Float32Array(this.made.meter.fftSize);
    this.made.meter.getFloatTimeDomainData(samples);
    return 20 * Math.log10(samples.reduce((peak, sample) => Math.max(peak, Math.abs(sample)), 0));
  }
}

function gain(decibels: number) { return decibels <= SILENT_DB ? 0 : 10 ** (decibels / 20); }

/** The peaks of a sound for `seconds`; quiet sounds are drawn larger. */
export function peaksOf(buffer: AudioBuffer, seconds: number) {
  const peaks = new Float32Array(Math.ceil((seconds * buffer.sampleRate) / PEAK_HOP));
  for (let channel = 0; channel < buffer.numberOfChannels; channel += 1) {
    buffer.getChannelData(channel).forEach((sample, index) => {
      const level = Math.abs(sample), slot = (index / PEAK_HOP) | 0;
      if (level > peaks[slot]) peaks[slot] = level;
    });
  }
  const top = peaks.reduce((most, peak) => Math.max(most, peak), QUIETEST_TOP);
  return peaks.map((peak) => peak / top);
}
