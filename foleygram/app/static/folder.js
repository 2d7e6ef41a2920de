// The server's folder of films, and the films that are open: chosen, queued, opened.

import { follow, get, post } from "./api.js";
import { soundOptions } from "./panels.js";

const $ = (selector) => document.querySelector(selector);

/** List the folder's films with their state; `open` is called with the name of one to edit. */
export async function showFolder(open) {
  const films = await get("/api/folder");
  $("#folder").hidden = false;
  $("#folder-run").disabled = !films.length;
  $("#folder-films").replaceChildren(...films.map((film) => {
    const item = document.createElement("li"), chosen = Object.assign(document.createElement("input"), { type: "checkbox", value: film.name, checked: film.state !== "done" });
    const label = document.createElement("label"), button = Object.assign(document.createElement("button"), { textContent: "Edit" });
    chosen.dataset.state = film.state;
    label.append(chosen, film.name);
    button.setAttribute("aria-label", `Edit ${film.name}`);
    button.onclick = () => open(film.name);
    const state = Object.assign(document.createElement("span"), { className: "note state", textContent: film.state === "failed" ? film.reason : film.state });
    item.append(label, state, button, ...film.files.filter((name) => !name.endsWith(".json")).map((name) =>
      Object.assign(document.createElement("a"), { textContent: name, href: `/api/folder/results/${encodeURIComponent(name)}`, download: "" })));
    return item;
  }));
}

/**
 * Generate the chosen films in one job, a finished one again: a film that was edited here as it stands, every other with
 * the sound panel's fields.
 */
export async function runFolder(project, open) {
  const chosen = [...document.querySelectorAll("#folder-films input:checked")], names = chosen.map((box) => box.value);
  if (!names.length) throw new Error("Choose a film of the folder first.");
  const options = project ? { ...soundOptions(project), segments: [], film: project.film.id } : {};
  const takes = Number($("#count").value) || 1, overwrite = chosen.some((box) => box.dataset.state === "done");
  const job = await post("/api/folder/queue", { ...options, takes, names, overwrite });
  try {
    const found = await follow(job, "Folder");
    if (found?.failed.length) throw new Error(`Not made: ${found.failed.join(", ")}`);
    if (found?.skipped.length) throw new Error(`Not made, because results of another run are there: ${found.skipped.join(", ")}`);
  } finally { await showFolder(open); }
}
