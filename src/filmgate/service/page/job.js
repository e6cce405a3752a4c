// One job: how far it is, its latest frame before and after, what went wrong, and the result.

import { $, announce, make, setText } from "./elements.js";
import { describeEvent, describeJob, describeSpeed, readFraction, STATES } from "./job_words.js";
import { drawProblem, drawTrouble } from "./problems.js";
import { ask, follow, hasKey } from "./server.js";
import { Slider } from "./slider.js";
import { formatBytes, formatCount, formatDuration, formatMoment, formatTime } from "./words.js";

const PREVIEW_MS = 1800;

/** Shows a job and follows it until it ends, or until `leave`. */
export class JobPage {
  /** `read(id, signal)` returns the job as it is now. */
  constructor(id, read) {
    [this.id, this.read, this.address] = [id, read, `v1/jobs/${id}`];
    this.stop = new AbortController();
    this.job = null;
    this.previewAt = -PREVIEW_MS;
    this.slider = null;
    this.build();
  }

  build() {
    this.title = make("h1", { tabIndex: -1 }, "Job");
    this.subtitle = make("p", { class: "muted" });
    this.pill = make("span", { class: "pill" });
    this.viewer = make("div", { hidden: true });
    [this.status, this.speed] = [make("span"), make("span", { class: "muted" })];
    this.bar = make("progress", { max: 1, "aria-label": "Progress" });
    this.meter = make("div", { class: "meter" }, make("p", {}, this.status, this.speed), this.bar);
    this.connection = make("p", { class: "muted", role: "status" });
    [this.trouble, this.actions] = [make("div"), make("div", { class: "actions" })];
    [this.log, this.facts] = [make("ol", { class: "log" }), make("dl", { class: "facts" })];
    $("job").replaceChildren(
      make("div", { class: "job-head" }, make("div", {}, this.title, this.subtitle), this.pill),
      this.viewer, this.meter, this.connection, this.trouble, this.actions,
      make("div", {}, make("details", {}, make("summary", {}, "What happened so far"), this.log),
        make("details", {}, make("summary", {}, "Details"), this.facts)));
    this.title.focus({ preventScroll: true });
  }

  async run() {
    const { signal } = this.stop;
    try {
      await this.refresh();
      await follow(`${this.address}/events`, (event) => this.take(event), (isOpen) => this.setConnected(isOpen), signal);
      await this.refresh();
    } catch (error) {
      if (signal.aborted) return;
      $("job").replaceChildren(make("h1", {}, "Job"), drawProblem(error), make("p", {}, make("a", { href: "#/" }, "New job")));
    }
  }

  setConnected(isConnected) {
    setText(this.connection, isConnected ? "" : "The server cannot be reached. The job is safe; this page tries again.");
  }

  /** Take an event; return whether it is the last. */
  take({ kind, data }) {
    if (kind === "live") {
      this.job.progress = data;
      if (this.job.state === "leased") this.refresh().catch(() => {}); else this.showProgress();
      this.showPreview();
      return false;
    }
    if (kind === "progress") return false; // of the past
    this.log.append(make("li", {}, make("time", {}, formatTime(data.time_ms)), make("span", {}, describeEvent(data))));
    this.refresh().catch(() => {}); // the next event tries again
    return ["done", "failed", "cancelled", "expired"].includes(kind);
  }

  async refresh() {
    const job = await this.read(this.id, this.stop.signal);
    const before = this.job;
    if (this.stop.signal.aborted || before?.isFinal) return;
    this.job = job;
    this.showProgress();
    const look = (one) => JSON.stringify([one?.state, one?.is_cancel_requested, one?.segments, one?.attempts]);
    if (look(before) !== look(job)) {
      this.showActions();
      this.trouble.replaceChildren(...[drawTrouble(job)].filter(Boolean));
      this.showFacts();
    }
    if (before && before.state !== job.state) announce(`${job.name}: ${STATES[job.state]}`);
    if (job.isFinal) await this.showEnd(); else this.showPreview();
  }

  showProgress() {
    const { job } = this;
    const fraction = readFraction(job);
    const percent = fraction !== null && !job.isFinal ? `${Math.floor(100 * fraction)} %` : STATES[job.state];
    document.title = `${percent} · ${job.name} · Filmgate`;
    setText(this.title, job.name);
    setText(this.subtitle, [job.tasks, job.settings].filter(Boolean).join(": "));
    setText(this.pill, STATES[job.state]);
    this.pill.className = job.look;
    setText(this.status, describeJob(job));
    setText(this.speed, describeSpeed(job));
    if (fraction === null) this.bar.removeAttribute("value"); else this.bar.value = fraction;
    this.bar.hidden = job.state === "queued";
    this.meter.hidden = job.isFinal;
  }

  showActions() {
    const { job } = this;
    const hadFocus = this.actions.contains(document.activeElement);
    const buttons = [];
    if (job.state === "done") buttons.push(this.makeDownload(`Download, ${formatBytes(job.result.size_bytes)}`, "primary", {}));
    else if (job.segments > 0) buttons.push(this.makeDownload("Download what is finished", "", { partial: 1 }));
    if (!job.isFinal) {
      const text = job.is_cancel_requested ? "Stopping…" : "Cancel job";
      buttons.push(make("button", { type: "button", disabled: job.is_cancel_requested, onclick: () => this.cancel() }, text));
    } else buttons.push(make("a", { class: "button", href: "#/" }, "New job"));
    this.actions.replaceChildren(...buttons);
    if (hadFocus) buttons[0].focus();
  }

  async cancel() {
    try {
      await ask(`${this.address}:cancel`, { method: "POST", signal: this.stop.signal });
      await this.refresh();
    } catch (error) {
      if (!this.stop.signal.aborted) this.trouble.replaceChildren(drawProblem(error));
    }
  }

  showFacts() {
    const { job } = this;
    const rows = [["Job", make("code", {}, job.id)], ["Submitted", formatMoment(job.submitted_ms)],
      job.started_ms && ["Started", formatMoment(job.started_ms)], job.finished_ms && ["Ended", formatMoment(job.finished_ms)],
      ["Finished parts", formatCount(job.segments ?? 0)], ["Attempts", formatCount(job.attempts?.length ?? 0)],
      job.plan?.seconds && ["Predicted time", formatDuration(job.plan.seconds)],
      job.plan?.host_bytes && ["Predicted memory", formatBytes(job.plan.host_bytes)],
      job.result?.seconds && ["Measured time", formatDuration(job.result.seconds)],
      job.result?.frames && ["Frames of the result", formatCount(job.result.frames)],
      job.result?.sha256 && ["SHA-256 of the result", make("code", {}, job.result.sha256)],
      job.correlation_id && ["Reference", make("code", {}, job.correlation_id)]];
    this.facts.replaceChildren(...rows.filter(Boolean).flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
  }

  /** Show the latest frame before and after, not too often. */
  async showPreview() {
    const now = performance.now();
    const isEarly = !this.job.isFinal && !this.job.progress?.read;
    if (document.hidden || isEarly || now - this.previewAt < PREVIEW_MS) return;
    this.previewAt = now;
    try {
      const response = await ask(`${this.address}/preview`, { raw: true, signal: this.stop.signal, tries: 1 });
      const slider = this.slider ?? new Slider();
      await slider.show(await response.blob());
      if (!this.slider) this.viewer.replaceChildren(slider.root);
      [this.slider, this.viewer.hidden] = [slider, false];
    } catch { /* there is none (yet) */ }
  }

  /** Show the last frame, and let the result play where the browser can. */
  async showEnd() {
    this.previewAt = -PREVIEW_MS;
    await this.showPreview();
    const type = this.job.result?.media_type ?? "";
    const video = make("video", { controls: true, preload: "metadata", playsInline: true, "aria-label": `Result of ${this.job.name}` });
    if (!type.startsWith("video/") || !video.canPlayType(type)) return;
    video.addEventListener("loadedmetadata", () => video.videoWidth && this.showPlayer(video), { once: true });
    video.addEventListener("error", () => this.renew(video), { once: true });
    video.src = await this.findResult({ inline: 1 });
  }

  /** Play on with another address: with a key they work for ten minutes. */
  async renew(video) {
    if (!hasKey() || !video.currentTime) return;
    const { currentTime } = video;
    video.addEventListener("error", () => this.renew(video), { once: true });
    video.src = await this.findResult({ inline: 1 });
    video.currentTime = currentTime;
  }

  showPlayer(video) {
    const player = make("div", { class: "viewer" }, video);
    const views = [["Play", player], ["Compare", this.slider?.root]];
    const choose = (chosen) => {
      video.pause();
      this.viewer.replaceChildren(tabs, chosen);
      [...tabs.children].forEach((tab, index) => tab.setAttribute("aria-pressed", String(views[index][1] === chosen)));
    };
    const tabs = make("div", { class: "tabs", role: "group", "aria-label": "What is shown", hidden: !this.slider },
      views.map(([name, view]) => make("button", { type: "button", onclick: () => choose(view) }, name)));
    this.viewer.hidden = false;
    choose(player);
  }

  /** Return the address of the result; with a key one that works without it for ten minutes. */
  async findResult(query = {}) {
    const link = hasKey() ? await ask(`${this.address}:link`, { method: "POST" }) : { result: `${this.address}/result` };
    const address = new URL(link.result, location.href);
    for (const [name, value] of Object.entries(query)) address.searchParams.set(name, value);
    return address.href;
  }

  makeDownload(text, look, query) {
    const start = async (event) => {
      if (!hasKey()) return; // the link itself works
      event.preventDefault();
      try {
        location.assign(await this.findResult(query));
      } catch (error) {
        this.trouble.replaceChildren(drawProblem(error));
      }
    };
    return make("a", { class: `button ${look}`, href: `${this.address}/result?${new URLSearchParams(query)}`, download: "", onclick: start }, text);
  }

  leave() {
    this.stop.abort();
  }
}
