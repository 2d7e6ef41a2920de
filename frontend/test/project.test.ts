import { beforeEach, expect, test, vi } from "vitest";
import { post } from "../src/api";
import type { EnvelopeMessage, FilmMessage } from "../src/messages";
import { newRegion, Project } from "../src/project";

vi.mock("../src/api", () => ({ get: vi.fn(), post: vi.fn() }));

const film = { id: "1", name: "a.mp4", seconds: 10, frame_rate: 25, width: 4, height: 3, video_codec: "h264", has_sound: true, takes: 0 } satisfies FilmMessage;
const envelope = (value: number): EnvelopeMessage => ({ rate: 1, values: [value], hits: [] });
const spans = (project: Project) => project.regions.map(({ start, end }) => [start, end]);

let project: Project, sent: { envelope: EnvelopeMessage }[];
beforeEach(() => {
  project = new Project(film);
  project.startFrom(envelope(0));
  sent = [];
  vi.mocked(post).mockImplementation(async (_, body) => { // the server's edit adds 1
    sent.push(body as { envelope: EnvelopeMessage });
    return envelope(sent.at(-1)!.envelope.values[0] + 1);
  });
});

test("edits are applied one after the other, and listed as on the command line", async () => {
  await Promise.all([project.edit("mute", "1:2"), project.edit("mute", "3:4")]);
  expect(sent.map((body) => body.envelope.values[0])).toEqual([0, 1]);
  expect(project.envelope).toEqual(envelope(2));
  expect(project.source).toEqual(envelope(0));
  expect(project.edits).toEqual(["--mute 1:2", "--mute 3:4"]);
});

test("an edit that the server refuses changes nothing, and the next is applied", async () => {
  vi.mocked(post).mockRejectedValueOnce(new Error("no"));
  await expect(project.edit("mute", "x")).rejects.toThrow("no");
  await project.edit("mute", "1:2");
  expect(project.edits).toEqual(["--mute 1:2"]);
});

test("undo and redo walk the steps; a new edit drops those undone", async () => {
  expect([project.canUndo, project.canRedo]).toEqual([false, false]);
  await project.edit("mute", "1:2");
  project.setRegions([newRegion(1, 2)]);
  project.undo();
  expect([spans(project), project.edits.length]).toEqual([[], 1]);
  project.redo();
  expect(spans(project)).toEqual([[1, 2]]);
  project.undo();
  project.undo();
  project.undo(); // there is no further step
  expect([project.envelope, project.edits]).toEqual([envelope(0), []]);
  await project.edit("gain", "1:2:6dB");
  expect([project.canRedo, project.edits]).toEqual([false, ["--gain 1:2:6dB"]]);
});

test("of more than 500 steps the first and the newest are kept", () => {
  for (let step = 1; step <= 600; step += 1) project.startFrom(envelope(step));
  let undone = 0;
  while (project.canUndo) { project.undo(); undone += 1; }
  expect([undone, project.envelope]).toEqual([499, envelope(0)]);
});

test("regions are sorted, inside the film, and do not overlap", () => {
  project.setRegions([newRegion(5, 12), newRegion(1, 3), newRegion(2, 4), newRegion(9, 9.5)]);
  expect(spans(project)).toEqual([[1, 3], [3, 4], [5, 10]]);
  const { id } = project.regions[0];
  project.changeRegion(id, { prompt: "wood" });
  expect(project.regions[0].prompt).toBe("wood");
  project.removeRegion(id);
  expect(spans(project)).toEqual([[3, 4], [5, 10]]);
});

test("a selection is inside the film, drawn in either direction, and none if it is short", () => {
  project.select(4, -1);
  expect(project.selection).toEqual({ start: 0, end: 4 });
  project.select(2, 2.0005);
  expect(project.selection).toBeNull();
});
