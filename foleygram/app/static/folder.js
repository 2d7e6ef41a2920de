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
    label.append(chosen, film.name);
    button.setAttribute("aria-label", `Edit ${film.name}`);
    button.onclick = () => open(film.name);
    const state = Object.assign(document.createElement("span"), { className: "note state", textContent: film.state === "failed" ? film.reason : film.state });
    item.append(label, state, button, ...film.files.filter((name) => !name.endsWith(".json")).map((name) =>
      Object.assign(document.createElement("a"), { textContent: name, href: `/api/folder/results/${encodeURIComponent(name)}`, download: "" })));
    return item;
  }));
}

/** Generate the chosen films in one job, with the prompts and options of the sound panel. */
export async function runFolder(project, open) {
  const names = [...document.querySelectorAll("#folder-films input:checked")].map((box) => box.value);
  if (!names.length) throw new Error("Choose a film of the folder first.");
  const options = project ? soundOptions(project) : {};
  const { prompt, negative_prompt, weights, control_scale, seed, steps, guidance } = options;
  const body = project ? { prompt, negative_prompt, weights, control_scale, seed, steps, guidance } : {};
  const takes = Number($("#count").value) || 1;
  const job = await post("/api/folder/queue", { ...body, takes, names, overwrite: false });
  try {
    const found = await follow(job, "Folder");
    if (found?.failed.length) throw new Error(`Not made: ${found.failed.join(", ")}`);
  } finally { await showFolder(open); }
}
