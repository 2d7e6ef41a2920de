import { expect, test } from "vitest";
import { addHit, addPoint, decibels, drawLine, moveHit } from "../src/edits";
import type { Point } from "../src/project";

const hit = { time: 1.25, level: 0.1, decay: 0.1 };

test("an onset is moved in time, and in level if that changes", () => {
  expect(moveHit(hit, 1.5)).toBe("1.250000:1.500000");
  expect(moveHit(hit, 1.25, 2)).toBe("1.250000:1.250000:0.200000");
  expect(moveHit(hit, 1.25, 100)).toBe("1.250000:1.250000:1.00000"); // full scale is the highest
});

test("an onset is added at a level, or at the envelope's", () => {
  expect(addHit(2, 0.5)).toBe("2.0000:0.50000");
  expect(addHit(2)).toBe("2.0000");
});

test("a line is written with silence as 0", () => {
  expect(drawLine([[0, 0.00001], [0.5, 0.25]])).toBe("0.0000:0,0.5000:0.25000");
});

test("points closer than the envelope's values are left out", () => {
  const points: Point[] = [[1, 0.1]];
  addPoint(points, [1.004, 0.2]);
  addPoint(points, [1, 0.3]);
  addPoint(points, [1.008, 0.2]);
  expect(points).toEqual([[1, 0.1], [1.008, 0.2]]);
});

test("a line drawn backwards replaces what it passes over", () => {
  const points: Point[] = [];
  for (const time of [1, 2, 3]) addPoint(points, [time, 0.1]);
  addPoint(points, [1.5, 0.4]);
  expect(points).toEqual([[1, 0.1], [1.5, 0.4]]);
  addPoint(points, [0.5, 0.2]);
  expect(points).toEqual([[0.5, 0.2]]);
});

test("levels in decibels", () => {
  expect([1, 0.1, 0.5].map(decibels)).toEqual([0, -20, -6]);
});
