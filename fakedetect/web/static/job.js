// The page of a job: replaces each file's part when its state changes, and shows heat maps on demand.

import { detailOf, localTimes } from "./page.js";

const job = document.getElementById("job");
const base = `/jobs/${job.dataset.job}`;
const message = document.getElementById("message");
const SUMMARY_EVERY_MS = 2000; // it is read out by screen readers
const fetching = new Map(); // place -> {again: whether its state changed since, done: a promise}

let isGone = false;

// The job was deleted, perhaps in another tab: nothing of it is shown any longer.
function showGone() {
  isGone = true;
  clearTimeout(summaryLater);
  const heading = document.createElement("h1"), text = document.createElement("p"), more = document.createElement("a");
  heading.textContent = "Deleted";
  text.textContent = "These results were deleted, here or in another tab. ";
  text.setAttribute("role", "alert");
  more.href = "/";
  more.textContent = "Check more files";
  text.append(more);
  job.replaceChildren(heading, text);
  document.title = "Deleted · fakelab";
}

async function part(path) {
  const answer = await fetch(path); // accepts anything, so errors come as problem details
  if (answer.status === 404) {
    showGone();
  }
  if (!answer.ok) {
    throw new Error(detailOf(await answer.text(), answer.status));
  }
  return answer.text();
}

function fileAt(place) {
  return document.getElementById(`file-${place}`);
}

// Fetches a file's part; once more if its state changed in the meantime.
async function fetchFile(place, running) {
  do {
    running.again = false;
    const made = document.createElement("template");
    made.innerHTML = await part(`${base}/files/${place}`);
    const fresh = made.content.querySelector("article");
    upgrade(fresh);
    fileAt(place)?.replaceWith(fresh);
  } while (running.again && !isGone);
}

function replaceFile(place) {
  const known = fetching.get(place);
  if (known) {
    known.again = true;
    return known.done;
  }
  const running = { again: false, done: null };
  fetching.set(place, running);
  running.done = fetchFile(place, running).finally(() => fetching.delete(place));
  return running.done;
}

let summaryAt = 0;
let summaryLater = 0;

async function replaceSummary() {
  summaryAt = Date.now();
  const summary = document.getElementById("summary");
  summary.innerHTML = await part(`${base}/summary`);
  localTimes(summary);
}

// Now, or later if it was replaced a moment ago.
function summaryChanged() {
  clearTimeout(summaryLater);
  const wait = Math.max(0, summaryAt + SUMMARY_EVERY_MS - Date.now());
  summaryLater = setTimeout(() => replaceSummary().catch(report), wait);
}

function report(error) {
  message.textContent = error.message;
}

function showProgress({ place, analysed, expected }) {
  const bar = fileAt(place)?.querySelector("progress.frames");
  if (bar) {
    bar.hidden = false;
    bar.max = Math.max(1, expected);
    bar.value = analysed;
    fileAt(place).querySelector(".counted").textContent = `${analysed} of ${expected} frames`;
  }
}

function showDrawing({ place, drawn, expected }) {
  const bar = fileAt(place)?.querySelector("progress.drawn");
  if (bar) {
    bar.max = Math.max(1, expected);
    bar.value = drawn;
  }
}

function follow() {
  const events = new EventSource(`/v1${base}/events`);
  events.addEventListener("file", (event) => {
    const { place, state } = JSON.parse(event.data);
    if (fileAt(place) && fileAt(place).dataset.state !== state) {
      replaceFile(place).then(countJudged).catch(report);
      if (state === "done") {
        summaryChanged();
      }
    }
  });
  events.addEventListener("progress", (event) => showProgress(JSON.parse(event.data)));
  // Verdicts come first; marked videos are drawn after them, and the events continue until the last is there.
  const closeIfDrawn = () => {
    if (job.dataset.done === "yes" && !job.querySelector(".drawing")) {
      events.close();
    }
  };
  events.addEventListener("drawing", (event) => showDrawing(JSON.parse(event.data)));
  events.addEventListener("marked", (event) => {
    const { place, state } = JSON.parse(event.data);
    if (state === "ready" || state === "failed") {
      replaceFile(place).then(closeIfDrawn).catch(report);
    }
  });
  let isJudged = false; // from then on, the server ends the events when no video is left to draw
  events.addEventListener("done", () => {
    isJudged = true;
    finish().then(closeIfDrawn).catch(report);
  });
  events.addEventListener("deleted", () => {
    events.close();
    showGone();
  });
  events.addEventListener("open", () => { message.textContent = ""; });
  events.addEventListener("error", () => {
    if (isJudged && events.readyState !== EventSource.CLOSED) {
      return; // the events ended, or another attempt follows
    }
    if (events.readyState === EventSource.CLOSED) {
      message.textContent = "The connection to the server was lost. Reload the page to see the results.";
      part(`${base}/summary`).catch(report); // shows if the job is gone
    } else {
      message.textContent = "The connection to the server was lost; connecting again.";
    }
  });
}

function countJudged() {
  document.getElementById("judged").value = job.querySelectorAll("article[data-state=done]").length;
}

async function finish() {
  clearTimeout(summaryLater);
  for (const file of job.querySelectorAll("article:not([data-state=done])")) {
    await replaceFile(Number(file.dataset.place));
  }
  await replaceSummary();
  for (const one of document.querySelectorAll("#downloads, #order")) {
    one.hidden = false;
  }
  document.getElementById("judged").hidden = true;
  job.dataset.done = "yes";
  const stop = job.querySelector("form[action$='/delete'] button");
  if (stop) {
    stop.textContent = "Delete these results";
  }
}

async function showHeat(button, address) {
  const place = button.closest("article").querySelector(".heat");
  place.hidden = !place.hidden;
  button.setAttribute("aria-expanded", String(!place.hidden));
  if (place.querySelector("img") || place.hidden) {
    return;
  }
  place.textContent = "Computing the heat map";
  try {
    const answer = await fetch(address, { headers: { Accept: "image/jpeg" } });
    if (!answer.ok) {
      throw new Error(detailOf(await answer.text(), answer.status));
    }
    const image = document.createElement("img"), note = document.createElement("p");
    image.src = URL.createObjectURL(await answer.blob());
    image.alt = `Heat map of ${place.dataset.of}`;
    note.className = "why";
    note.textContent = `Bright where the score of ${place.dataset.of} is most sensitive. It is attention, not proof.`;
    place.replaceChildren(image, note);
  } catch (error) {
    place.textContent = error.message;
  }
}

// A click in the plot over time shows that moment of the marked video. The keyboard has the controls of the player.
function seekFrom(event) {
  const plot = event.currentTarget, box = plot.getBoundingClientRect();
  const video = plot.closest("article").querySelector("video");
  video.currentTime = Number(plot.closest("figure").dataset.end) * (event.clientX - box.left) / box.width;
}

// Turns links to heat maps into buttons: without this script, they lead to the picture.
function upgrade(root) {
  for (const plot of root.querySelectorAll(".timeline[data-end] svg")) {
    plot.addEventListener("click", seekFrom);
  }
  for (const link of root.querySelectorAll("a[data-heat]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "quiet";
    button.setAttribute("aria-expanded", "false");
    button.append(...link.childNodes);
    button.addEventListener("click", () => showHeat(button, link.href));
    link.replaceWith(button);
  }
}

upgrade(job);
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible" && !isGone) {
    part(`${base}/summary`).catch(() => {}); // only to learn whether it was deleted meanwhile
  }
});
if (job.dataset.done === "no" || job.dataset.drawing === "yes") {
  follow();
}
