// Keeps the editor's state of each film on the server, so that a reload or another tab comes back to it.

import { put } from "./api";
import { stateOf } from "./panels";
import type { Project } from "./project";

const sent = new Map<string, string>(); // by film: the state that the server has or is about to get
let line: Promise<unknown> = Promise.resolve();

/** Send a project's state if it has changed; of several that wait, only the newest is sent. */
export function keep(project: Project | null, report: (error: Error) => void) {
  if (!project?.envelope) return;
  const { path, film } = project, body = JSON.stringify(stateOf(project));
  if (sent.get(film.id) === body) return;
  sent.set(film.id, body);
  line = line.then(async () => { if (sent.get(film.id) === body) await put(`${path}/project`, body); }).catch(report);
}
