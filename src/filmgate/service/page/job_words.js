// What jobs and their events are, in words.

import { formatBytes, formatCount, formatDuration, plural, toWords } from "./words.js";

export const STATES = { queued: "Waiting", leased: "Loading", running: "Running", done: "Done", failed: "Failed", cancelled: "Cancelled", expired: "Expired" };
const LOOKS = { leased: "running", expired: "failed" };

/** The job of an answer, with what the page asks of it. `names`: of uploads, by their id. */
export function readJob(answer, names) {
  const job = answer.metadata;
  const tasks = job.definition.tasks ?? [];
  const settings = tasks.flatMap((task) => Object.entries(task).filter(([name]) => name !== "task"));
  return {
    ...job,
    result: answer.response ?? null,
    error: answer.error ?? null,
    isFinal: answer.done,
    name: names.get(job.definition.source?.upload) ?? job.definition.source?.path?.split(/[/\\]/).pop() ?? `Job ${job.id.slice(0, 8)}`,
    tasks: tasks.map((task) => toWords(task.task)).join(", then ") || "Convert",
    settings: settings.map(([name, value]) => `${toWords(name).toLowerCase()} ${value !== null && typeof value === "object" ? "file" : value}`).join(", "),
    look: `pill ${LOOKS[job.state] ?? job.state}`,
  };
}

/** How much is done, 0 to 1; null if that is unknown. */
export function readFraction(job) {
  return job.state === "done" ? 1 : job.progress?.fraction ?? null;
}

/** One sentence on how far a job is. */
export function describeJob(job) {
  const { progress } = job;
  if (job.is_cancel_requested && !job.isFinal) return "Stopping…";
  if (job.state === "queued" && !job.is_planned) return "Predicting time and memory";
  if (job.state === "queued") {
    const start = job.start_s === null ? "" : job.start_s < 1 ? ", starts now" : `, starts in about ${formatDuration(job.start_s)}`;
    return job.position ? `Number ${formatCount(job.position)} in the queue${start}` : "Waits for its turn";
  }
  if (job.state === "leased" || job.state === "running" && (!progress || progress.phase === "loading")) return "Loading the model";
  if (job.state === "running") {
    if (progress.phase === "finishing") return "Putting the result together";
    return progress.frames ? `${formatCount(progress.read)} of ${plural(progress.frames, "frame")}` : plural(progress.read, "frame");
  }
  if (job.state === "done") return formatBytes(job.result.size_bytes);
  return STATES[job.state];
}

export function describeSpeed(job) {
  const { progress } = job;
  if (job.state !== "running" || !progress?.fps) return "";
  const left = progress.eta_s === null ? "" : `, about ${formatDuration(progress.eta_s)} left`;
  return `${progress.fps < 10 ? progress.fps.toFixed(1) : Math.round(progress.fps)} fps${left}`;
}

/** One line of the list of what happened. */
export function describeEvent({ kind, data }) {
  switch (kind) {
    case "queued": return "Submitted";
    case "planned": return data.host_bytes ? `Predicted: ${formatBytes(data.host_bytes)} of memory${data.seconds === null ? "" : `, about ${formatDuration(data.seconds)}`}` : "It cannot be predicted: it runs alone";
    case "leased": return `Given to a worker on ${data.device || "this machine"}`;
    case "segment": return `Part ${data.number + 1} is finished: ${plural(data.frames, "frame")}`;
    case "rewound": return `Continues after part ${data.segments}`;
    case "requeued": return `Interrupted: another process continues${data.delay_s >= 1 ? ` in ${formatDuration(data.delay_s)}` : ""}`;
    case "worker_died": return `The process ended: ${data.cause ?? "it is not known why"}`;
    case "resumed": return `Continues after part ${data.segments}`;
    case "cancel_requested": return "Asked to stop";
    default: return data.message ? `${toWords(kind)}: ${data.message}` : toWords(kind);
  }
}
