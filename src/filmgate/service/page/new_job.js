// A new job: the file, its settings, the plan before the run, and the start.

import { $, announce, make, setText } from "./elements.js";
import { Fields } from "./fields.js";
import { drawProblem } from "./problems.js";
import { ask, Problem, sleep } from "./server.js";
import { describeUpload, Upload } from "./upload.js";
import { formatBytes, formatDuration, plural, toWords } from "./words.js";

const TYPING_MS = 400; // without a change before the plan is asked for

export class NewJob {
  /** `onSubmitted` is called with the answer to a submission. */
  constructor(onSubmitted) {
    this.onSubmitted = onSubmitted;
    this.fields = null;
    this.upload = null;
    this.inputs = new Map(); // besides the video, by task
    this.planning = new AbortController();
    this.key = null; // the idempotency key of what the form says now
    this.listen();
    this.showStart();
  }

  /** `forms`: the answer of GET /v1/tasks. */
  setForms(forms) {
    const files = { choose: (name, file) => this.chooseInput(name, file), describe: (name) => this.describeInput(name) };
    this.fields = new Fields(forms, () => this.change(), files);
    this.fields.show();
    this.change();
  }

  listen() {
    const drop = $("drop");
    $("file").addEventListener("change", (event) => this.choose(event.target.files[0]));
    for (const kind of ["dragenter", "dragover"]) {
      document.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.toggle("over", !drop.hidden); });
    }
    for (const kind of ["dragleave", "drop"]) document.addEventListener(kind, () => drop.classList.remove("over"));
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      if (!drop.hidden && !$("new").hidden) this.choose(event.dataTransfer.files[0]);
    });
    $("form").addEventListener("submit", (event) => { event.preventDefault(); this.submit(); });
  }

  /** Upload a file and show it in place of the drop zone. */
  choose(file) {
    if (!file) return;
    const address = URL.createObjectURL(file);
    const video = make("video", { class: "thumb", muted: true, preload: "metadata", src: `${address}#t=0.5`, "aria-hidden": "true", tabIndex: -1 });
    const text = make("p", { class: "muted" });
    const bar = make("progress", { max: Math.max(1, file.size), value: 0, "aria-label": "Upload" });
    const button = make("button", { type: "button", class: "remove small", "aria-label": `Remove ${file.name}`, onclick: () => this.remove(address) }, "Remove");
    const show = () => {
      const { state, sent } = this.upload;
      const size = video.videoWidth ? `, ${video.videoWidth}×${video.videoHeight}, ${formatDuration(video.duration)}` : "";
      [bar.value, bar.hidden, bar.className] = [sent, state === "done", state === "failed" ? "bad" : ""];
      setText(text, describeUpload(this.upload) + (state === "done" ? size : ""));
    };
    video.addEventListener("loadedmetadata", () => this.upload && show());
    this.upload = new Upload(file, (upload) => {
      show();
      if (upload.state === "done") announce(`${file.name} is uploaded`);
      if (upload.state === "failed") announce(upload.error.message);
      if (upload.isEnded) this.change(); else this.showStart();
    });
    $("chosen").replaceChildren(video, make("p", { class: "name" }, file.name), make("div", { class: "state" }, text, bar), button);
    [$("chosen").hidden, $("drop").hidden] = [false, true];
    this.upload.run();
    button.focus({ preventScroll: true });
  }

  remove(address) {
    this.upload.remove();
    this.upload = null;
    URL.revokeObjectURL(address);
    [$("chosen").hidden, $("drop").hidden, $("file").value] = [true, false, ""];
    $("file").focus();
    this.change();
  }

  /** The uploads of the task's further inputs, by the names of its settings. */
  get files() {
    if (!this.inputs.has(this.fields.name)) this.inputs.set(this.fields.name, new Map());
    return this.inputs.get(this.fields.name);
  }

  describeInput(name) {
    const upload = this.files.get(name);
    return upload ? `${upload.file.name}: ${describeUpload(upload)}` : "";
  }

  chooseInput(name, file) {
    const { files, fields } = this;
    files.get(name)?.remove();
    files.delete(name);
    fields.set("task", name, undefined);
    if (!file) return;
    const task = fields.name;
    const upload = new Upload(file, (one) => {
      if (fields.name === task) setText($(`field-task-${name}-help`), this.describeInput(name));
      if (one.state === "done") fields.values[`task ${task}`][name] = { upload: one.id };
      if (one.isEnded) this.change();
    });
    files.set(name, upload);
    upload.run();
  }

  /** The form says something else: it is another job, which needs another plan. */
  change() {
    this.key = null;
    this.showStart();
    this.planning.abort();
    this.planning = new AbortController();
    if (this.upload?.state === "done" && this.fields?.missingInputs.length === 0) this.plan(this.planning.signal);
    else $("plan").hidden = true;
  }

  async plan(signal) {
    const body = $("plan-body");
    $("plan").hidden = false;
    $("plan").classList.add("busy");
    if (!body.querySelector("dl")) body.replaceChildren(make("p", { class: "muted" }, "Predicting time and memory…"));
    await sleep(TYPING_MS, signal);
    try {
      if (signal.aborted) return;
      const plan = await ask("v1/plan", { method: "POST", body: this.fields.buildJob(this.upload.id), signal, tries: 2 });
      if (!signal.aborted) body.replaceChildren(...drawPlan(plan));
    } catch (error) {
      if (signal.aborted) return;
      if (error.kind === "not-planned") body.replaceChildren(make("p", {}, "Time and memory could not be predicted: the server is too busy, or this takes long. You can start without it."));
      else this.showProblem(error);
    } finally {
      if (!signal.aborted) $("plan").classList.remove("busy");
    }
  }

  /** Show an error at its field and in place of the plan; return the field, null if there is none. */
  showProblem(error) {
    const pointers = error instanceof Problem ? error.pointers : [];
    const controls = pointers.map(([pointer, text]) => this.fields.showWrong(pointer, text)).filter(Boolean);
    $("plan").hidden = false;
    $("plan-body").replaceChildren(drawProblem(error));
    return controls[0] ?? null;
  }

  showStart() {
    const state = this.upload?.state;
    const isWaiting = this.fields && [...this.files.values()].some((upload) => !upload.isEnded);
    const missing = this.fields?.missingInputs.map((name) => toWords(name).toLowerCase()) ?? [];
    const help = !this.fields ? "Waiting for the server." : !this.upload ? "Choose a video first." :
      state === "failed" ? "Remove the file, and choose it again." :
      state !== "done" ? "You can start when the upload is complete." :
      isWaiting ? "A further file is still being uploaded." :
      missing.length ? `Choose a file for ${missing.join(" and ")} too.` : "";
    setText($("start-help"), help);
    $("start").disabled = help !== "";
  }

  async submit() {
    if ($("start").disabled) return;
    this.key ??= makeKey();
    $("start").disabled = true;
    setText($("start"), "Starting…");
    try {
      const body = { ...this.fields.buildJob(this.upload.id), class: "interactive" };
      const answer = await ask("v1/jobs", { method: "POST", body, headers: { "Idempotency-Key": this.key } });
      this.key = null; // the next start is another job
      this.onSubmitted(answer);
    } catch (error) {
      const place = this.showProblem(error) ?? $("plan");
      place.scrollIntoView({ block: "center" });
      place.focus();
    } finally {
      setText($("start"), "Start");
      this.showStart();
    }
  }
}

function makeKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function drawPlan(plan) {
  const figure = (name, value, note) => make("div", {}, make("dt", {}, name), make("dd", {}, value, note && make("small", {}, note)));
  const result = [plan.width && `${plan.width}×${plan.height}`, plan.rate && `${Number(plan.rate.toFixed(3))} fps`,
    plan.result_frames && plural(plan.result_frames, "frame")].filter(Boolean).join(", ");
  return [make("dl", { class: "figures" },
    figure("Time", plan.seconds === null ? "unknown" : `about ${formatDuration(plan.seconds)}`, plan.frames ? `${plural(plan.frames, "frame")} to read` : "the video does not say how long it is"),
    figure("Memory", formatBytes(plan.host_bytes), plan.device_bytes ? `and ${formatBytes(plan.device_bytes)} on the GPU` : "at its peak"),
    figure("Result", plan.result_bytes ? `about ${formatBytes(plan.result_bytes)}` : "size unknown", result)),
  make("p", { class: "muted" }, "Predicted from the first frames, not measured.")];
}
