// The server's folder of films: listed, chosen, queued, opened.

import { follow, get, post } from "./api";
import { button, element, find } from "./page";
import type { FolderFilm, JobMessage } from "./messages";
import { soundOptions, takesToMake } from "./panels";
import type { Project } from "./project";

type Open = (name: string) => void;

/** List the folder's films with their state; `open` is called with the name of one to edit. */
export async function showFolder(open: Open) {
  const films = await get<FolderFilm[]>("/api/folder");
  find("#folder").hidden = false;
  button("#folder-run").disabled = !films.length;
  find("#folder-films").replaceChildren(...films.map((film) => folderItem(film, open)));
}

function folderItem({ name, state, reason, files }: FolderFilm, open: Open) {
  const chosen = element("input", { type: "checkbox", value: name, checked: state !== "done" });
  chosen.dataset.state = state;
  const edit = element("button", { textContent: "Edit", ariaLabel: `Edit ${name}`, onclick: () => open(name) });
  const shown = element("span", { className: "note state", textContent: state === "failed" ? reason : state });
  const links = files.filter((file) => !file.endsWith(".json")).map((file) =>
    element("a", { textContent: file, href: `/api/folder/results/${encodeURIComponent(file)}`, download: "" }));
  return element("li", {}, element("label", {}, chosen, name), shown, edit, ...links);
}

/**
 * Generate the chosen films in one job, a finished one again: a film that was edited here as it stands, every other with
 * the sound panel's fields.
 */
export async function runFolder(project: Project | null, open: Open) {
  const chosen = [...document.querySelectorAll<HTMLInputElement>("#folder-films input:checked")], names = chosen.map((box) => box.value);
  if (!names.length) throw new Error("Choose a film of the folder first.");
  const options = project ? { ...soundOptions(project), segments: [], film: project.film.id } : {};
  const overwrite = chosen.some((box) => box.dataset.state === "done");
  const job = await post<JobMessage>("/api/folder/queue", { ...options, takes: takesToMake(), names, overwrite });
  try {
    const found = await follow<{ failed: string[]; skipped: string[] }>(job, "Folder");
    if (found?.failed.length) throw new Error(`Not made: ${found.failed.join(", ")}`);
    if (found?.skipped.length) throw new Error(`Not made, because results of another run are there: ${found.skipped.join(", ")}`);
  } finally { await showFolder(open); }
}
