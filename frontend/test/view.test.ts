import { expect, test } from "vitest";
import { rowAt, View } from "../src/view";

function shown(seconds = 10, width = 1000) {
  const view = new View();
  view.fit(seconds);
  view.width = width;
  return view;
}

test("a time's pixel is that time again, at every zoom", () => {
  const view = shown();
  expect(view.x(2.5)).toBe(250);
  for (let step = 0; step < 5; step += 1) {
    view.zoom(1.7, 300);
    expect(view.time(view.x(4))).toBeCloseTo(4, 10);
  }
});

test("pixels outside of the film are its ends", () => {
  expect(shown().time(-50)).toBe(0);
  expect(shown().time(2000)).toBe(10);
});

test("zooming keeps the time under the mouse", () => {
  const view = shown(), before = view.time(700);
  view.zoom(3, 700);
  expect(view.span).toBeCloseTo(10 / 3);
  expect(view.time(700)).toBeCloseTo(before, 10);
});

test("zooming ends at a quarter of a second and at the whole film", () => {
  const view = shown();
  view.zoom(1e6);
  expect(view.span).toBe(0.25);
  view.zoom(1e-6);
  expect([view.start, view.span]).toEqual([0, 10]);
  const short = shown(0.1);
  short.zoom(2);
  expect(short.span).toBe(0.1);
});

test("scrolling stays inside the film", () => {
  const view = shown();
  view.zoom(2, 0);
  view.scroll(100);
  expect(view.start).toBeCloseTo(0.5);
  view.scroll(1e6);
  expect([view.start, view.end]).toEqual([5, 10]);
  view.scroll(-1e6);
  expect(view.start).toBe(0);
});

test("a time is revealed only if it is hidden", () => {
  const view = shown();
  view.zoom(5, 0);
  expect(view.reveal(1.5)).toBe(false);
  expect(view.reveal(7)).toBe(true);
  expect(view.start).toBeCloseTo(6.8);
});

test("heights belong to rows", () => {
  expect([10, 60, 109, 230, 300, 350, 999].map(rowAt)).toEqual(["ruler", "strip", "regions", "envelope", "take", "original", "original"]);
});
