// Numbers, times and names as people read them.

export function formatBytes(bytes) {
  if (bytes === null || bytes === undefined) return "unknown";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let step = 0;
  while (bytes >= 999.5 && step < units.length - 1) { bytes /= 1000; step += 1; }
  return `${bytes >= 100 || step === 0 ? Math.round(bytes) : Number(bytes.toPrecision(2))} ${units[step]}`;
}

export function formatDuration(seconds) {
  if (seconds === null || seconds === undefined) return "unknown";
  if (seconds < 1) return "less than 1 s";
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  return `${Math.round(minutes / 1440)} days`;
}

export const formatCount = (count) => count.toLocaleString("en-GB");
export const plural = (count, word) => `${formatCount(count)} ${word}${count === 1 ? "" : "s"}`;
const ACRONYMS = new Set(["crf", "fps", "gop", "ram", "vram"]);
/** A name of code as words: "pix_fmt" -> "Pix fmt", "ram" -> "RAM". */
export const toWords = (name) => ACRONYMS.has(name) ? name.toUpperCase() : (name.charAt(0).toUpperCase() + name.slice(1)).replaceAll("_", " ");
export const formatTime = (ms) => new Date(ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });

export function formatMoment(ms) {
  const moment = new Date(ms);
  const isToday = moment.toDateString() === new Date().toDateString();
  return moment.toLocaleString([], isToday ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" });
}
