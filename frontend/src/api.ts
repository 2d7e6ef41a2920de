// The server's HTTP API: JSON in and out, uploads with progress, jobs followed until they end.

import { element, find } from "./page";
import type { JobMessage } from "./messages";

const KEEPALIVE_BYTES = 60_000; // browsers finish a request of at most 64 KiB after the page has gone

export class ServerError extends Error {}

/** What an answer's body says went wrong. */
function reason(text: string): string {
  try {
    const { detail } = JSON.parse(text);
    return typeof detail === "string" ? detail : JSON.stringify(detail);
  } catch { return text; }
}

let waiting = 0;
/** Wait for a promise; while any is waited for, the body has the attribute data-waiting. */
export async function busy<T>(promise: Promise<T>): Promise<T> {
  waiting += 1;
  document.body.dataset.waiting = "true";
  try { return await promise; } finally {
    waiting -= 1;
    if (!waiting) delete document.body.dataset.waiting;
  }
}

async function send<T>(path: string, options: RequestInit, failure = "The server does not answer; is it still running?"): Promise<T> {
  let response;
  try { response = await fetch(path, options); } catch { throw new ServerError(failure); }
  if (!response.ok) throw new ServerError(reason(await response.text()));
  return response.status === 204 ? (undefined as T) : response.json();
}
const json = (method: string, body: string): RequestInit => ({ method, body, headers: { "content-type": "application/json" } });

export const get = <T>(path: string) => busy(send<T>(path, {}));
export const remove = (path: string) => busy(send<void>(path, { method: "DELETE" }));
export const put = (path: string, body: string) => busy(send<void>(path, { ...json("PUT", body), keepalive: body.length < KEEPALIVE_BYTES }));
export const post = <T>(path: string, body: object) => busy(send<T>(path, json("POST", JSON.stringify(body))));

/** Send a file as the body of a request. */
export function upload<T>(path: string, file: File): Promise<T> {
  const options = { method: "POST", body: file, headers: { "content-type": "application/octet-stream" } };
  const failure = `${file.name}: the upload broke off; is it larger than the limit?`;
  return busy(send<T>(`${path}?name=${encodeURIComponent(file.name)}`, options, failure));
}

/** Show a job's progress in the page until it ends; returns its result, or null if it was cancelled. */
export async function follow<T>(job: JobMessage, title: string, changed = async (_: JobMessage) => {}): Promise<T | null> {
  const name = element("span"), bar = element("progress", { max: 1, value: 0, ariaLabel: title });
  const stop = element("button", { textContent: "Cancel" });
  stop.onclick = () => { stop.disabled = true; remove(`/api/jobs/${job.id}`).catch(() => {}); };
  const line = element("div", {}, name, bar, stop);
  find("#jobs").append(line);
  try {
    for (;;) {
      name.textContent = `${title}: ${job.state === "waiting" ? "waiting" : job.text || "starting"}`;
      bar.value = job.progress;
      if (!["waiting", "running"].includes(job.state)) break;
      await new Promise((resolve) => setTimeout(resolve, 250));
      job = await get<JobMessage>(`/api/jobs/${job.id}`);
      await changed(job);
    }
  } finally { line.remove(); }
  if (job.state === "failed") throw new ServerError(job.error ?? "");
  return job.state === "done" ? (job.result as T) : null;
}
