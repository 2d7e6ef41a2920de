// The server's HTTP API: JSON in and out, uploads with progress, jobs followed until they end.

const KEEPALIVE_BYTES = 60_000; // browsers finish a request of at most 64 KiB after the page has gone

export class ServerError extends Error {}

async function answer(response) {
  if (response.ok) return response.status === 204 ? null : response.json();
  let text = await response.text();
  try { text = JSON.parse(text).detail; } catch { /* plain text */ }
  throw new ServerError(typeof text === "string" ? text : JSON.stringify(text));
}

let waiting = 0;
/** Wait for a promise; while any is waited for, the body has the attribute data-waiting. */
export async function busy(promise) {
  waiting += 1;
  document.body.dataset.waiting = "true";
  try { return await promise; } finally {
    waiting -= 1;
    if (!waiting) delete document.body.dataset.waiting;
  }
}

async function send(path, options) {
  let response;
  try { response = await fetch(path, options); } catch { throw new ServerError("The server does not answer; is it still running?"); }
  return answer(response);
}
const ask = (path, options = {}) => busy(send(path, options));

export const get = (path) => ask(path);
export const remove = (path) => ask(path, { method: "DELETE" });
export const put = (path, body) =>
  ask(path, { method: "PUT", headers: { "content-type": "application/json" }, body, keepalive: body.length < KEEPALIVE_BYTES });
export const post = (path, body) =>
  ask(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

/** Send a file as the body of a request; `progress` is called with a share from 0 to 1. */
export function upload(path, file, progress = () => {}) {
  return busy(new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `${path}?name=${encodeURIComponent(file.name)}`);
    request.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
    request.onerror = () => reject(new ServerError(`${file.name}: the upload broke off; is it larger than the limit?`));
    request.onload = () => {
      let body = request.responseText;
      try { body = JSON.parse(body); } catch { /* plain text */ }
      if (request.status < 300) resolve(body);
      else reject(new ServerError(typeof body === "string" ? body : body.detail));
    };
    request.setRequestHeader("content-type", "application/octet-stream");
    request.send(file);
  }));
}

/** Show a job's progress in the page until it ends; returns its result, or null if it was cancelled. */
export async function follow(job, title, changed = async () => {}) {
  const line = document.createElement("div");
  const [name, bar, stop] = ["span", "progress", "button"].map((tag) => document.createElement(tag));
  Object.assign(bar, { max: 1, value: 0 });
  bar.setAttribute("aria-label", title);
  stop.textContent = "Cancel";
  stop.onclick = () => { stop.disabled = true; remove(`/api/jobs/${job.id}`).catch(() => {}); };
  line.append(name, bar, stop);
  document.querySelector("#jobs").append(line);
  try {
    for (;;) {
      name.textContent = `${title}: ${job.state === "waiting" ? "waiting" : job.text || "starting"}`;
      bar.value = job.progress;
      if (!["waiting", "running"].includes(job.state)) break;
      await new Promise((resolve) => setTimeout(resolve, 250));
      job = await get(`/api/jobs/${job.id}`);
      await changed(job);
    }
  } finally { line.remove(); }
  if (job.state === "failed") throw new ServerError(job.error);
  return job.state === "done" ? job.result : null;
}
