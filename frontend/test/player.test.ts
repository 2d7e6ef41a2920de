import { expect, test } from "vitest";
import { peaksOf } from "../src/player";

const RATE = 640; // ten peaks a second

function sound(...channels: number[][]) {
  const samples = channels.map((channel) => Float32Array.from(channel));
  return { sampleRate: RATE, numberOfChannels: samples.length, getChannelData: (index: number) => samples[index] } as AudioBuffer;
}
const silence = (length: number): number[] => Array(length).fill(0);

test("peaks are the highest level of any channel, relative to the sound's, until the film's end", () => {
  const left = [...silence(70), -0.5, ...silence(9)], right = [0.25, ...silence(79)];
  expect([...peaksOf(sound(left, right), 0.4)]).toEqual([0.5, 1, 0, 0]);
});

test("what is longer than the film is left out", () => {
  expect([...peaksOf(sound([...silence(128), 1]), 0.2)]).toEqual([0, 0]);
});

test("silence stays silence, and a very quiet sound stays small", () => {
  expect([...peaksOf(sound(silence(64)), 0.1)]).toEqual([0]);
  expect(peaksOf(sound([0.05, ...silence(63)]), 0.1)[0]).toBeCloseTo(0.5);
});
