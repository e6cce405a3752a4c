// The list of one's jobs, the latest first.

import { $, make, setText } from "./elements.js";
import { describeJob, readFraction, readJob, STATES } from "./job_words.js";
import { ask } from "./server.js";
import { formatMoment } from "./words.js";

const PAGE_SIZE = 30;

export class Queue {
  constructor() {
    this.jobs = new Map();
    this.names = new Map(); // of uploads, by their id
    this.next = null; // where older jobs begin
    this.hasOlder = false; // older ones were asked for
    $("jobs-more").addEventListener("click", () => this.readOlder().catch(() => {}));
  }

  get isBusy() { return [...this.jobs.values()].some((job) => !job.isFinal); }

  /** Read one job; `signal` ends that. */
  async readOne(id, signal) {
    const answer = await ask(`v1/jobs/${id}`, { signal });
    return (await this.add([answer]))[0];
  }

  /** Read the latest jobs; those that were removed in the meantime go. */
  async read() {
    const page = await ask(`v1/jobs?limit=${PAGE_SIZE}`, { tries: 1 });
    const ids = new Set(page.jobs.map(({ metadata }) => metadata.id));
    const oldest = page.next === null ? 0 : page.jobs.at(-1).metadata.submitted_ms;
    for (const job of [...this.jobs.values()]) {
      if (job.submitted_ms > oldest && !ids.has(job.id)) this.jobs.delete(job.id);
    }
    if (!this.hasOlder) this.next = page.next;
    await this.add(page.jobs);
  }

  async readOlder() {
    const page = await ask(`v1/jobs?limit=${PAGE_SIZE}&after=${encodeURIComponent(this.next)}`, { tries: 1 });
    [this.next, this.hasOlder] = [page.next, true];
    await this.add(page.jobs);
  }

  /** Take jobs as the API answers with them, and show the list. */
  async add(answers) {
    const uploads = answers.map(({ metadata }) => metadata.definition.source?.upload).filter(Boolean);
    if (uploads.some((id) => !this.names.has(id))) await this.readNames(uploads);
    const jobs = answers.map((answer) => readJob(answer, this.names));
    for (const job of jobs) this.jobs.set(job.id, job);
    this.show();
    return jobs;
  }

  /** Read what the uploads are called; one that is gone is not asked for again. */
  async readNames(ids) {
    const { uploads } = await ask("v1/uploads", { tries: 2 }).catch(() => ({ uploads: [] }));
    for (const { id, name } of uploads) this.names.set(id, name);
    for (const id of ids) if (!this.names.has(id)) this.names.set(id, undefined);
  }

  show() {
    const jobs = [...this.jobs.values()].sort((one, other) => other.submitted_ms - one.submitted_ms);
    $("jobs-empty").hidden = jobs.length > 0;
    $("jobs-more").hidden = this.next === null;
    const list = $("jobs");
    const rows = new Map([...list.children].map((row) => [row.dataset.id, row]));
    jobs.forEach((job, index) => {
      const row = rows.get(job.id) ?? makeRow(job.id);
      rows.delete(job.id);
      showRow(row, job);
      if (list.children[index] !== row) list.insertBefore(row, list.children[index] ?? null);
    });
    for (const row of rows.values()) row.remove();
  }
}

function makeRow(id) {
  return make("li", { "data-id": id }, make("a", { href: `#/jobs/${id}` },
    make("span", { class: "name" }), make("span", { class: "pill" }), make("span", { class: "muted" }),
    make("progress", { max: 1, "aria-label": "Progress" })));
}

function showRow(row, job) {
  const [link] = row.children;
  const [name, pill, text, bar] = link.children;
  setText(name, job.name);
  setText(pill, STATES[job.state]);
  pill.className = job.look;
  setText(text, job.isFinal ? `${job.tasks}, ${formatMoment(job.finished_ms ?? job.submitted_ms)}` : `${job.tasks}. ${describeJob(job)}`);
  bar.hidden = !["leased", "running"].includes(job.state);
  const fraction = readFraction(job);
  if (fraction === null) bar.removeAttribute("value"); else bar.value = fraction;
  if (location.hash === `#/jobs/${job.id}`) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
}
