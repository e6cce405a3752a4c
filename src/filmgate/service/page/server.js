// Requests to the server: repeated with growing pauses, with the key of this tab; and its events.

import { $, setText } from "./elements.js";

const KEY = "filmgate-key";
const SILENCE_MS = 40_000; // of a stream of events, after which its connection is given up
const MAX_PAUSE_MS = 15_000;
const PASSING = [429, 502, 503, 504]; // answers after which the same request can succeed

export const hasKey = () => sessionStorage.getItem(KEY) !== null;

export const sleep = (ms, signal) => new Promise((resolve) => {
  const end = () => {
    clearTimeout(timer);
    signal?.removeEventListener("abort", end);
    resolve();
  };
  const timer = setTimeout(end, ms);
  signal?.addEventListener("abort", end);
});

/** Milliseconds after try number `tries`: as the server asks, else growing, at random up to a most. */
export function chooseDelay(tries, retryAfter) {
  const asked = Number(retryAfter) * 1000;
  return asked > 0 ? asked : 100 + Math.random() * Math.min(MAX_PAUSE_MS, 400 * 2 ** tries);
}

/** An answer that is an error: problem+json, as in RFC 9457. */
export class Problem extends Error {
  constructor(body, status, retryAfter) {
    super(body.detail || body.title || `The server answered with the code ${status}.`);
    [this.body, this.status, this.retryAfter] = [body, status, Number(retryAfter) || 0];
  }

  /** Pairs of a JSON pointer to what is wrong and a text. */
  get pointers() { return this.body.pointer ? [[this.body.pointer, this.message]] : []; }

  get kind() { return this.body.type?.split("/").pop() ?? ""; }

  static async of(response) {
    return new Problem(await response.json().catch(() => ({})), response.status, response.headers.get("Retry-After"));
  }
}

export function headersWithKey(headers = {}) {
  return hasKey() ? { ...headers, Authorization: `Bearer ${sessionStorage.getItem(KEY)}` } : headers;
}

/**
 * Return the JSON of an answer, or with `raw` the answer. Raises Problem; Error without an answer.
 * If the server asks to wait more than `longest` seconds, that is an error at once.
 */
export async function ask(address, { method = "GET", body, headers = {}, signal, tries = 6, raw = false, longest = 5 } = {}) {
  const json = body === undefined ? {} : { "Content-Type": "application/json" };
  for (let attempt = 1; ; attempt += 1) {
    let response = null;
    try {
      response = await fetch(address, {
        method, signal, cache: "no-store", headers: headersWithKey({ ...json, ...headers }), body: body && JSON.stringify(body),
      });
    } catch (error) {
      if (signal?.aborted) throw error;
      if (attempt >= tries) throw new Error("The server cannot be reached: check that it runs and that this machine is connected.");
    }
    if (response?.ok) return raw ? response : response.json();
    const retryAfter = Number(response?.headers.get("Retry-After"));
    if (response && (!PASSING.includes(response.status) || attempt >= tries || retryAfter > longest)) {
      const problem = await Problem.of(response);
      if (problem.kind === "no-key") askForKey(problem);
      throw problem;
    }
    await sleep(chooseDelay(attempt, retryAfter), signal);
  }
}

/** Call `onEvent` with each event of a stream, from its first on, until it returns true. Reconnects. */
export async function follow(address, onEvent, onState, signal) {
  let last = 0;
  const receive = (event) => {
    if (!event.data || event.id && event.id <= last) return false;
    last = event.id || last;
    return onEvent({ ...event, data: JSON.parse(event.data) });
  };
  for (let attempt = 1; !signal.aborted; attempt += 1) {
    const connection = new AbortController();
    const close = () => connection.abort();
    signal.addEventListener("abort", close, { once: true });
    try {
      const headers = headersWithKey({ Accept: "text/event-stream", ...(last ? { "Last-Event-ID": `${last}` } : {}) });
      const response = await fetch(address, { headers, signal: connection.signal, cache: "no-store" });
      if (response.status === 204) return;
      if (!response.ok && !PASSING.includes(response.status)) throw await Problem.of(response);
      if (response.ok) {
        onState(true);
        for await (const event of readEvents(response, close)) {
          attempt = 0;
          if (receive(event)) return;
        }
      }
    } catch (error) {
      if (error instanceof Problem) throw error;
    } finally {
      signal.removeEventListener("abort", close);
      close();
    }
    if (!signal.aborted) {
      onState(false);
      await sleep(chooseDelay(attempt), signal);
    }
  }
}

/** Yield the events of an answer; `close` ends its connection, also when it is silent for long. */
async function* readEvents(response, close) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ;) {
    const watch = setTimeout(close, SILENCE_MS);
    const { value, done } = await reader.read().finally(() => clearTimeout(watch));
    if (done) return;
    const blocks = (rest + value).split(/\r?\n\r?\n/);
    rest = blocks.pop();
    yield* blocks.map(parseEvent);
  }
}

function parseEvent(block) {
  const event = { id: 0, kind: "message", data: "" };
  for (const line of block.split(/\r?\n/)) {
    const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line);
    if (name === "id") event.id = Number(value);
    if (name === "event") event.kind = value;
    if (name === "data") event.data += event.data ? `\n${value}` : value;
  }
  return event;
}

function askForKey(problem) {
  $("key-open").hidden = false;
  if ($("key-dialog").open) return;
  $("key-problem").hidden = !hasKey();
  setText($("key-problem"), problem.message);
  $("key-dialog").showModal();
}

/** Let the dialog for the key work; with another key the page starts over. */
export function prepareKey() {
  const dialog = $("key-dialog");
  $("key-open").hidden = !hasKey();
  $("key-open").addEventListener("click", () => { $("key-problem").hidden = true; dialog.showModal(); });
  dialog.addEventListener("close", () => {
    const key = $("key").value.trim();
    $("key").value = "";
    if (dialog.returnValue !== "save") return;
    if (key) sessionStorage.setItem(KEY, key); else sessionStorage.removeItem(KEY);
    location.reload();
  });
}
