// The page of a service: choose a video and a task, see the plan, watch the job, get the result.

import { $, setText } from "./elements.js";
import { JobPage } from "./job.js";
import { NewJob } from "./new_job.js";
import { drawProblem } from "./problems.js";
import { Queue } from "./queue.js";
import { ask, chooseDelay, headersWithKey, prepareKey, sleep } from "./server.js";

const BUSY_MS = 2500; // between two looks at the list while jobs run
const IDLE_MS = 8000;

const queue = new Queue();
const newJob = new NewJob((answer) => {
  location.hash = `#/${answer.name}`;
});
let page = null;

/** Show the job that the address names, or the form. */
function showRoute() {
  page?.leave();
  const id = /^#\/jobs\/([\w-]+)$/.exec(location.hash)?.[1];
  [$("new").hidden, $("job").hidden] = [Boolean(id), !id];
  page = id ? new JobPage(id, (one, signal) => queue.readOne(one, signal)) : null;
  page?.run();
  if (!id) document.title = "Filmgate";
  scrollTo(0, 0);
  queue.show();
}

async function readForms() {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const forms = await ask("v1/tasks");
      return newJob.setForms(forms);
    } catch (error) {
      $("settings").replaceChildren(drawProblem(error));
      await sleep(chooseDelay(attempt));
    }
  }
}

async function readHealth() {
  let [look, text] = ["unready", "Not reachable, trying again"];
  try {
    const response = await fetch("readyz", { cache: "no-store", headers: headersWithKey() });
    const { reasons = [] } = await response.json().catch(() => ({}));
    [look, text] = response.ok ? ["ready", "Ready"] : ["unready", `Not ready: ${reasons[0] ?? "its workers are starting"}`];
  } catch { /* it is not there */ }
  $("health").className = `health ${look}`;
  setText($("health"), text);
}

/** Keep the list and the state of the server fresh. */
async function keepFresh() {
  for (;;) {
    if (!document.hidden) await Promise.all([queue.read().catch(() => {}), readHealth()]);
    await sleep(queue.isBusy ? BUSY_MS : IDLE_MS);
  }
}

prepareKey();
$("skip").addEventListener("click", (event) => { event.preventDefault(); $("main").focus(); }); // the address stays
addEventListener("hashchange", showRoute);
document.addEventListener("visibilitychange", () => document.hidden || queue.read().catch(() => {}));
showRoute();
readForms();
keepFresh();
