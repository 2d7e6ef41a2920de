// Keeps the editor's state of each film on the server, so that a reload or another tab comes back to it.

import { put } from "./api.js";
import { soundOptions } from "./panels.js";

const sent = new Map(); // by film: the state that the server has or is about to get
let line = Promise.resolve();

function stateOf(project) {
  const { envelope, source, reference, take, other } = project;
  const segments = project.regions.map(({ start, end, prompt, reference, referenceName }) =>
    ({ start, end, prompt, reference, reference_name: referenceName }));
  return {
    ...soundOptions(project), count: Number(document.querySelector("#count").value) || 1, segments, envelope, source,
    edits: project.now.edits, reference_name: reference?.name ?? "", take, other,
  };
}

/** Send a project's state if it has changed; of several that wait, only the newest is sent. */
export function keep(project, report) {
  if (!project?.envelope) return;
  const { path, film } = project, body = JSON.stringify(stateOf(project));
  if (sent.get(film.id) === body) return;
  sent.set(film.id, body);
  line = line.then(() => sent.get(film.id) === body && put(`${path}/project`, body)).catch(report);
}
