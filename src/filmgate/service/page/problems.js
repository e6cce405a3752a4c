// Errors and crashes in plain words: what happened, what to do, and details for those who want them.

import { make } from "./elements.js";
import { formatDuration, plural, toWords } from "./words.js";

/** What a job that failed should be read as, by its reason: what happened, and what to do. */
const REASONS = {
  poison: ["Three processes in a row crashed while they ran this job, so it was stopped.", "Try another model or a smaller size, or leave out the part of the video where it crashed."],
  worker_lost: ["The connection to the workers was lost ten times.", "Ask whoever runs this server to look at the machine, then submit the job again."],
  expired: ["The job did not start in the time that it was given.", "Submit it again when fewer jobs wait, or with more time."],
  damaged: ["The stored request cannot be read any more.", "Submit the job again."],
};
const ENDS = {
  died: "The process that ran it ended unexpectedly", out_of_memory: "The machine ran out of memory",
  stalled: "It made no progress and was stopped",
  lost: "The connection to the process was lost", failed: "It raised an error",
};

/** An error of a request. */
export function drawProblem(error) {
  const { title, correlation_id: reference, status } = error.body ?? {};
  const heading = error.body?.pointer ? "A setting is not right" : title && title !== error.message ? title : "This does not work";
  return make("div", { class: "problem", role: "alert" },
    make("h3", {}, heading),
    make("p", {}, error.message),
    error.retryAfter > 0 && make("p", {}, `Try again in ${formatDuration(error.retryAfter)}.`),
    status >= 500 && make("p", { class: "muted" }, "Reference: ", make("code", {}, reference)));
}

/** Why a job failed, or what it survived; null if nothing happened. */
export function drawTrouble(job) {
  const crashes = job.attempts.filter((attempt) => attempt.end in ENDS);
  const reports = crashes.map((attempt, index) => drawCrash(attempt, index + 1));
  const hint = crashes.at(-1)?.crash.hint;
  const reason = hint && make("p", {}, "The reason, as far as it is known: ", hint.replace(/\.?$/, "."));
  if (["failed", "expired"].includes(job.state)) {
    const [what, cure] = REASONS[job.state === "expired" ? "expired" : job.error.reason] ?? [];
    return make("div", { class: "problem", role: "alert" },
      make("h3", {}, job.state === "expired" ? "This job was not started" : "This job has failed"),
      make("p", {}, what ?? job.error.detail), reason, cure && make("p", {}, cure),
      make("p", { class: "muted" }, "Reference: ", make("code", {}, job.correlation_id)),
      reports);
  }
  if (!crashes.length || job.state === "cancelled") return null;
  const times = crashes.length === 1 ? "once" : crashes.length === 2 ? "twice" : plural(crashes.length, "time");
  const isDone = job.state === "done";
  return make("div", { class: "problem caution", role: "status" },
    make("h3", {}, isDone ? `Interrupted ${times}, and complete` : `Interrupted ${times}, and continues`),
    make("p", {}, isDone ? "Each time another process continued from the last finished part; the result is the same as without." :
      "Everything up to the last finished part is kept; another process continues from there."),
    reason, reports);
}

/** How one attempt ended, with what its process said. */
function drawCrash(attempt, number) {
  const crash = attempt.crash ?? {};
  const title = `${number}. ${ENDS[attempt.end] ?? toWords(attempt.end)}${crash.cause ? ` (${crash.cause})` : ""}`;
  const lines = [crash.message, crash.hint, crash.read !== undefined && `Reached source frame ${crash.read}.`, ...(crash.lines ?? []), crash.stack].filter(Boolean);
  if (!lines.length) return make("p", { class: "muted" }, title);
  return make("details", {}, make("summary", {}, title), make("pre", { tabIndex: 0 }, lines.join("\n")));
}
