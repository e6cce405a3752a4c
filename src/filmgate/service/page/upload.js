// Uploads by tus 1.0: they continue after lost connections, restarts of the server and reloads.

import { ask, chooseDelay, headersWithKey, Problem, sleep } from "./server.js";
import { formatBytes } from "./words.js";

const CHUNK_BYTES = 8 << 20;
const TUS = { "Tus-Resumable": "1.0.0" };
const MANY_TRIES = 10_000; // a server may be away for a day

export class Upload {
  /** `onChange` is called with the upload at each change. */
  constructor(file, onChange) {
    [this.file, this.onChange] = [file, onChange];
    this.state = "sending"; // or waiting (for the server), done, failed, removed
    this.sent = 0;
    this.error = null;
    this.address = null;
    this.stop = new AbortController();
    this.memory = `filmgate-upload ${file.name} ${file.size} ${file.lastModified}`;
  }

  get id() { return this.address.split("/").pop(); }

  get isEnded() { return ["done", "failed"].includes(this.state); }

  set(state, sent = this.sent) {
    if (this.state === "removed") return;
    [this.state, this.sent] = [state, sent];
    this.onChange(this);
  }

  async run() {
    try {
      if (this.file.size === 0) throw new Error(`${this.file.name} is empty: choose a file that is not.`);
      await this.open();
      while (this.sent < this.file.size) await this.sendChunk();
      const upload = await ask(`v1/uploads/${this.id}`, { signal: this.stop.signal });
      if (upload.state === "refused") throw new Error(upload.problem);
      this.set("done");
    } catch (error) {
      this.error = error;
      localStorage.removeItem(this.memory);
      this.set("failed");
    }
  }

  /** Find what an earlier visit has sent of this file, else begin. */
  async open() {
    this.address = localStorage.getItem(this.memory);
    const sent = this.address && await this.readOffset();
    if (sent !== null) return this.set("sending", sent);
    const name = btoa(String.fromCodePoint(...new TextEncoder().encode(this.file.name)));
    const headers = { ...TUS, "Upload-Length": `${this.file.size}`, "Upload-Metadata": `filename ${name}` };
    const response = await ask("v1/tus", { method: "POST", headers, raw: true, signal: this.stop.signal, tries: MANY_TRIES, longest: Infinity });
    this.address = new URL(response.headers.get("Location"), location.href).pathname;
    localStorage.setItem(this.memory, this.address);
    return this.set("sending", 0);
  }

  /** Return how many bytes the server has; null if it does not know the upload. */
  async readOffset() {
    try {
      const response = await ask(this.address, { method: "HEAD", headers: TUS, raw: true, signal: this.stop.signal, tries: MANY_TRIES, longest: Infinity });
      return Number(response.headers.get("Upload-Offset"));
    } catch (error) {
      if ([403, 404, 410].includes(error.status)) return null;
      throw error;
    }
  }

  async sendChunk() {
    const chunk = this.file.slice(this.sent, this.sent + CHUNK_BYTES);
    const headers = { ...TUS, "Upload-Offset": `${this.sent}`, "Content-Type": "application/offset+octet-stream" };
    if (crypto.subtle) { // which a page has that came by https, or from this machine
      const digest = await crypto.subtle.digest("SHA-256", await chunk.arrayBuffer());
      headers["Upload-Checksum"] = `sha256 ${btoa(String.fromCharCode(...new Uint8Array(digest)))}`;
    }
    for (let attempt = 1; ; attempt += 1) {
      const answer = await this.patch(chunk, headers);
      this.stop.signal.throwIfAborted();
      if (answer.status === 204) return this.set("sending", Number(answer.getResponseHeader("Upload-Offset")));
      if (![0, 409, 423, 429, 460, 500, 502, 503, 504].includes(answer.status)) throw new Problem(parse(answer.responseText), answer.status);
      this.set("waiting");
      await sleep(chooseDelay(attempt, answer.getResponseHeader("Retry-After")), this.stop.signal);
      const sent = await this.readOffset();
      if (sent === null) throw new Error("The server does not have this upload any more: choose the file again.");
      if (sent !== this.sent) return this.set("sending", sent);
    }
  }

  /** Send a chunk; only XMLHttpRequest reports how much of it has gone. */
  patch(chunk, headers) {
    return new Promise((resolve) => {
      const request = new XMLHttpRequest();
      const before = this.sent;
      request.open("PATCH", this.address);
      for (const [name, value] of Object.entries(headersWithKey(headers))) request.setRequestHeader(name, value);
      request.upload.onprogress = (event) => this.set("sending", before + event.loaded);
      const abort = () => request.abort();
      request.onloadend = () => {
        this.stop.signal.removeEventListener("abort", abort);
        this.sent = before;
        resolve(request);
      };
      this.stop.signal.addEventListener("abort", abort, { once: true });
      request.send(chunk);
    });
  }

  /** Stop, and delete what the server has; a complete upload stays, because jobs may read it. */
  remove() {
    const isComplete = this.state === "done";
    this.state = "removed";
    this.stop.abort();
    if (isComplete) return;
    localStorage.removeItem(this.memory);
    if (this.address) ask(this.address, { method: "DELETE", headers: TUS, raw: true, tries: 2 }).catch(() => {});
  }
}

export function describeUpload({ file, sent, state, error }) {
  const all = formatBytes(file.size);
  if (state === "done") return `${all}, uploaded`;
  if (state === "failed") return error.message;
  if (state === "sending" && sent >= file.size) return `${all}, uploaded; it is being checked`;
  return `${formatBytes(sent)} of ${all}${state === "waiting" ? ": the server cannot be reached, and it continues when it can" : ""}`;
}

function parse(text) {
  try { return JSON.parse(text); } catch { return {}; }
}
