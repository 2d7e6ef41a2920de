// The waveforms of the take and of the original sound: wavesurfer.js draws them at the timeline's zoom and scroll.

import WaveSurfer from "wavesurfer.js";
import { colour } from "./colours";
import { type Sounds, TRACKS } from "./player";
import { ROWS, type View } from "./view";

const COLOURS = { take: "wave", original: "own" } as const;

export class Waves {
  private sounds: Sounds = { take: null, original: null };
  private scale = 0;
  private readonly drawn = WaveSurfer.create({
    container: "#waves", interact: false, autoScroll: false, autoCenter: false, hideScrollbar: true, cursorWidth: 0,
  });

  /** `ready` is called when sounds can be drawn that were shown. */
  constructor(ready: () => void) { this.drawn.on("ready", ready); }

  show(sounds: Sounds, seconds: number) {
    this.sounds = { ...sounds };
    this.readColours();
    this.drawn.load("", TRACKS.map((name) => sounds[name]?.peaks ?? new Float32Array(1)), seconds);
  }

  readColours() {
    this.drawn.setOptions({
      splitChannels: TRACKS.map((name) => ({
        height: ROWS[name][1] - ROWS[name][0],
        waveColor: this.sounds[name] ? colour(COLOURS[name]) : "transparent",
      })),
    });
  }

  place({ seconds, start, scale }: View) {
    if (!this.drawn.getDecodedData()) return;
    if (scale !== this.scale) {
      this.drawn.getWrapper().style.width = `${seconds * scale}px`; // or the scrolling would end at the old width
      this.drawn.setScroll(start * scale);
      this.drawn.zoom(scale);
      this.scale = scale;
    }
    this.drawn.setScroll(start * scale);
  }
}
