// Plays the film in sync with sound: the audio clock leads, the silent video follows it.

import { busy } from "./api.js";

const PEAK_HOP = 128, FADE_SEC = 0.01, TOLERANCE_SEC = 0.06, SILENT_DB = -40;

export class Player extends EventTarget {
  constructor(video) {
    super();
    this.video = video;
    this.seconds = 0;
    this.position = 0; // where it stands, or where playing began
    this.speed = 0; // 0: stopped; negative: backwards
    this.loop = null; // {start, end}
    this.sounds = { take: null, original: null };
    this.decibels = { take: 0, original: SILENT_DB };
    this.playing = {};
    const tick = () => { this.follow(); requestAnimationFrame(tick); };
    requestAnimationFrame(tick);
  }

  /** The audio graph, made by the first user action: fader of each sound, then the meter. */
  get context() {
    if (!this.audio) {
      this.audio = new AudioContext();
      this.analyser = new AnalyserNode(this.audio, { fftSize: 2048 });
      this.analyser.connect(this.audio.destination);
      this.faders = {};
      for (const name of Object.keys(this.sounds)) {
        this.faders[name] = new GainNode(this.audio, { gain: gain(this.decibels[name]) });
        this.faders[name].connect(this.analyser);
      }
    }
    return this.audio;
  }

  get time() {
    if (!this.speed) return this.position;
    const passed = this.speed > 0 ? this.context.currentTime - this.began : performance.now() / 1000 - this.began;
    return Math.min(this.seconds, Math.max(0, this.position + Math.max(0, passed) * this.speed));
  }

  /** Load a sound from the server under the name `take` or `original`; null removes it. */
  async load(name, url) {
    const token = (this.loading ??= {}, (this.loading[name] = Symbol(name)));
    const sound = url ? await busy(this.read(url)) : null;
    if (this.loading[name] !== token) return; // another was asked for meanwhile
    this.sounds[name] = sound;
    if (this.speed > 0) this.begin(name, this.time);
    this.dispatchEvent(new Event("sound"));
  }

  async read(url) {
    const response = await fetch(url);
    return response.ok ? withPeaks(await this.context.decodeAudioData(await response.arrayBuffer())) : null;
  }

  setFader(name, decibels) {
    this.decibels[name] = decibels;
    if (this.audio) this.faders[name].gain.setTargetAtTime(gain(decibels), this.audio.currentTime, FADE_SEC);
  }

  async play(speed = 1) {
    const at = this.time >= this.seconds - 0.01 && speed > 0 ? (this.loop?.start ?? 0) : this.time;
    this.halt();
    if (this.context.state !== "running") await this.context.resume();
    this.position = at;
    this.speed = speed;
    this.began = speed > 0 ? this.context.currentTime : performance.now() / 1000;
    if (speed > 0) {
      for (const name of Object.keys(this.sounds)) this.begin(name, at);
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
  shuttle(direction) {
    const same = Math.sign(this.speed) === direction;
    return this.play(same ? Math.max(-8, Math.min(8, this.speed * 2)) : direction);
  }

  seek(time) {
    const speed = this.speed;
    this.halt();
    this.position = Math.min(this.seconds, Math.max(0, time));
    this.video.currentTime = this.position;
    if (speed) this.play(speed);
  }

  begin(name, at) {
    this.playing[name]?.stop(this.context.currentTime + FADE_SEC);
    delete this.playing[name];
    const sound = this.sounds[name];
    if (!sound || at >= sound.buffer.duration) return;
    const node = new AudioBufferSourceNode(this.context, { buffer: sound.buffer, playbackRate: this.speed });
    node.connect(this.faders[name]);
    node.start(0, at);
    this.playing[name] = node;
  }

  halt() {
    this.speed = 0;
    for (const [name, node] of Object.entries(this.playing)) { node.stop(); delete this.playing[name]; }
    this.video.pause();
  }

  /** Once per frame of the screen: loop, stop at the ends, keep the video on the audio clock. */
  follow() {
    if (!this.speed) return;
    const at = this.time;
    if (this.loop && this.speed > 0 && (at >= this.loop.end || at < this.loop.start - 0.05)) this.seek(this.loop.start);
    else if ((at >= this.seconds && this.speed > 0) || (at <= 0 && this.speed < 0)) this.pause();
    else if (this.speed < 0) this.video.currentTime = at;
    else {
      const heard = at - (this.context.outputLatency || 0) * this.speed;
      if (!this.video.seeking && Math.abs(this.video.currentTime - heard) > TOLERANCE_SEC * Math.max(1, this.speed)) this.video.currentTime = Math.max(0, heard);
    }
    this.dispatchEvent(new Event("time"));
  }

  /** Peak of what is heard now, in dB. */
  level() {
    if (!this.analyser || this.speed <= 0) return -Infinity;
    const samples = new Float32Array(this.analyser.fftSize);
    this.analyser.getFloatTimeDomainData(samples);
    let peak = 0;
    for (const sample of samples) peak = Math.max(peak, Math.abs(sample));
    return 20 * Math.log10(peak);
  }
}

function gain(decibels) { return decibels <= SILENT_DB ? 0 : 10 ** (decibels / 20); }

function withPeaks(buffer) {
  const peaks = new Float32Array(Math.ceil(buffer.length / PEAK_HOP));
  for (let channel = 0; channel < buffer.numberOfChannels; channel += 1) {
    const samples = buffer.getChannelData(channel);
    for (let index = 0; index < samples.length; index += 1) {
      const level = Math.abs(samples[index]), slot = (index / PEAK_HOP) | 0;
      if (level > peaks[slot]) peaks[slot] = level;
    }
  }
  const top = peaks.reduce((most, peak) => Math.max(most, peak), 0.1); // quiet sounds are drawn larger
  return { buffer, peaks, top, rate: buffer.sampleRate, hop: PEAK_HOP };
}
