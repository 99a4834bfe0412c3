// The live page of a run: asks for /state.json again and again, and draws what it says.
"use strict";

const SHOWN_MS = 2000, HIDDEN_MS = 30000, ANSWER_MS = 120000;
const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 220, MARGIN = { left: 50, right: 12, top: 10, bottom: 26 };
// Of each chart: [column, name, class, dashes].
const CHARTS = {
  loss: { range: null, series: [["loss_d", "D", "d", ""], ["loss_g", "G", "g", "7 3"]] },
  outputs: {
    range: [0, 1],
    series: [["d_real", "reals", "d", ""], ["d_fake_1", "fakes", "g", "7 3"], ["d_fake_2", "fakes, after D’s update", "third", "2 3"]],
  },
  accuracy: { range: [0, 1], series: [["acc_real", "reals", "d", ""], ["acc_fake", "fakes", "g", "7 3"]] },
};

const one = (id) => document.getElementById(id);
let state = null, drawn = "", chosen = null, timer = 0; // chosen: the epoch that the visitor has picked; null follows the latest

function number(value, digits = 4) {
  return Number(value.toPrecision(digits)).toLocaleString("en", { maximumSignificantDigits: digits });
}

function put(id, text) {
  const element = typeof id === "string" ? one(id) : id;
  if (element.textContent !== text) element.textContent = text;
}

function make(name, attributes = {}, text = "") {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text) element.textContent = text;
  return element;
}

// --- asking

async function ask() {
  clearTimeout(timer);
  let wait = SHOWN_MS;
  try {
    const answer = await fetch("/state.json", { cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS) });
    const found = await answer.json();
    if (!answer.ok) throw new Error(found.error || `The server answers with ${answer.status}.`);
    state = found;
    one("gone").hidden = true;
    show();
    if (["finished", "failed", "interrupted"].includes(state.status)) wait = 3 * SHOWN_MS; // it may be resumed
  } catch (error) {
    const lost = error instanceof TypeError || error.name === "TimeoutError";
    const text = lost ? "The server does not answer: fakelab watch was stopped." : `The run cannot be read: ${error.message}`;
    put("gone", `${text} ${state ? "What is shown is the last that was read. " : ""}This page tries again.`);
    one("gone").hidden = false;
  }
  clearTimeout(timer);
  timer = setTimeout(ask, document.hidden ? HIDDEN_MS : wait);
}

// --- showing

function show() {
  const { step, steps, status } = state;
  const part = steps ? step / steps : 1;
  put("what", `${state.preset} on ${state.source} · ${state.resolution}x${state.resolution} · seed ${state.seed} · ${state.device}`);
  put("headline", `${state.headline}.`);
  put("status", { writing: "writing the set" }[status] || status); // read aloud when it changes
  one("progress").value = part;
  put("step", number(step, 15));
  put("steps", `of ${steps.toLocaleString("en")} steps, ${Math.floor(100 * part)} %`);
  put("epoch", number(state.epoch, 15));
  put("epochs", `of ${state.epochs.toLocaleString("en")} epochs`);
  put("rate", state.images_per_s ? number(state.images_per_s, 3) : "–");
  const { left, changed, train } = state.in_words, finished = status === "finished";
  put("left", (finished ? train : left) || "–");
  put("left-of", finished ? "training time" : "training left, without measurements");
  put("changed", changed);
  document.title = `${Math.floor(100 * part)} % ${state.run} · fakelab`;
  showNotes();
  showSnapshot();
  const { src } = one("nearest"), wanted = state.nearest && `/nearest.png?v=${state.nearest}`;
  one("nearest-part").hidden = !wanted;
  if (wanted && !src.endsWith(wanted)) one("nearest").src = wanted;
  drawAll();
}

function showNotes() {
  const list = one("notes"), now = JSON.stringify(state.notes);
  if (list.dataset.now === now) return;
  list.dataset.now = now;
  list.hidden = !state.notes.length;
  list.replaceChildren(...state.notes.map(({ kind, text }) => {
    const item = document.createElement("li");
    item.className = kind;
    if (kind === "command") {
      const code = document.createElement("code");
      code.textContent = text;
      item.append("Resume with: ", code);
    } else item.textContent = text;
    return item;
  }));
}

function shownSnapshot() {
  const all = state.snapshots;
  return all.find((snapshot) => snapshot.epoch === chosen) || all[all.length - 1];
}

function showSnapshot() {
  const all = state.snapshots, shown = shownSnapshot(), slider = one("which");
  one("no-snapshot").hidden = all.length > 0;
  one("snapshots").hidden = !all.length;
  if (!shown) return;
  const latest = chosen === null || shown.epoch !== chosen;
  if (latest) chosen = null;
  slider.max = all.length - 1;
  slider.value = all.indexOf(shown);
  const name = String(shown.epoch).padStart(4, "0"), url = `/snapshots/epoch-${name}.png?v=${shown.version}`;
  const text = `epoch ${shown.epoch.toLocaleString("en")}${latest ? " (latest)" : ""}`;
  slider.setAttribute("aria-valuetext", text);
  put("shown", text);
  one("follow").disabled = latest;
  const image = one("snapshot");
  if (!image.src.endsWith(url)) {
    image.src = url;
    image.alt = `Fakes at epoch ${shown.epoch}`;
  }
}

// --- drawing

function drawAll() {
  const width = Math.round(document.querySelector(".chart").clientWidth), shown = shownSnapshot();
  const now = JSON.stringify([state.curves, state.quality, state.snapshots.length, shown && shown.epoch, width]);
  if (now === drawn) return;
  drawn = now;
  const epochs = state.curves.step.map((step) => step / state.steps_per_epoch);
  const rows = state.quality ? state.quality.rows : [];
  const end = Math.max(epochs[epochs.length - 1] || 0, rows.length ? rows[rows.length - 1].epoch : 0, shown ? shown.epoch : 0, 1);
  for (const [name, { range, series }] of Object.entries(CHARTS)) {
    const lines = series.map(([column, title, kind, dashes]) => {
      const last = state.latest ? state.latest[column] : null;
      return { title, kind, dashes, text: last === null ? "" : number(last, 3), x: epochs, y: state.curves[column] };
    });
    draw(document.querySelector(`[data-chart=${name}]`), { lines, range, end, mark: shown && shown.epoch });
  }
  drawDistances(rows, end, shown);
  const lines = state.latest ? state.latest.step / epochs.length : 0;
  put("means", epochs.length && lines >= 2 ? "Each point is a mean of several steps; the numbers are those of the last step." : "");
  tabulate("curves-table", ["step", "loss of D", "loss of G", "D of reals", "D of fakes", "after D’s update", "reals correct", "fakes correct"],
    curveRows());
  tabulate("distances-table", ["epoch", "Fréchet distance", "kernel distance", "precision", "recall", "coverage", "diversity"],
    rows.map((row) => [String(row.epoch), `${number(row.frechet)} ± ${number(row.frechet_se, 2)}`,
      `${number(row.kernel)} ± ${number(row.kernel_se, 2)}`,
      ...["precision", "recall", "coverage", "diversity"].map((name) => `${number(100 * row[name], 3)} %`)]));
}

function drawDistances(rows, end, shown) {
  const figure = document.querySelector("[data-chart=distance]"), quality = state.quality;
  put("comparable", quality ? quality.comparable : "");
  if (!rows.length) {
    draw(figure, { lines: [], range: null, end, none: "Not measured yet." });
    return;
  }
  const best = rows.find((row) => row.epoch === quality.best), last = rows[rows.length - 1];
  const value = (row) => `${number(row.frechet)} ± ${number(row.frechet_se, 2)}`;
  draw(figure, {
    lines: [
      { title: `fakes, epoch ${last.epoch}`, kind: "d", dashes: "", text: value(last), x: rows.map((row) => row.epoch),
        y: rows.map((row) => row.frechet), error: rows.map((row) => 2 * row.frechet_se), ring: rows.indexOf(best) },
      { title: "training reals", kind: "floor", dashes: "6 4", text: number(quality.floor), x: [0, end], y: [quality.floor, quality.floor] },
    ],
    range: null, end, log: true, mark: shown && shown.epoch, more: [`best: epoch ${best.epoch}, ${value(best)}`],
  });
}

// Draw lines {title, text, kind, dashes, x, y, error, ring} into a figure, with a legend that has their last values.
function draw(figure, { lines, range, end, log = false, mark = null, more = [], none = "No step is written yet." }) {
  const place = figure.querySelector(".chart"), width = Math.max(200, place.clientWidth), values = lines.flatMap((line) => line.y);
  const items = lines.filter((line) => line.y.length).map((line) => {
    const item = document.createElement("li"), swatch = make("svg", { width: 26, height: 8, "aria-hidden": "true" });
    swatch.append(make("line", { x1: 0, x2: 26, y1: 4, y2: 4, class: `curve ${line.kind}`, "stroke-dasharray": line.dashes }));
    item.append(swatch, `${line.title}: ${line.text}`);
    return item;
  });
  items.push(...more.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
  figure.querySelector(".legend").replaceChildren(...items);
  const title = figure.querySelector("figcaption").textContent, summary = items.map((item) => item.textContent).join(", ");
  const svg = make("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": `${title}. ${summary || none}` });
  place.replaceChildren(svg);
  if (!values.length) {
    svg.append(make("text", { x: width / 2, y: HEIGHT / 2, "text-anchor": "middle" }, none));
    return;
  }
  const right = width - MARGIN.right, bottom = HEIGHT - MARGIN.bottom;
  const logarithmic = log && Math.min(...values) > 0 && Math.max(...values) > 5 * Math.min(...values);
  const scaled = logarithmic ? Math.log10 : (value) => value;
  const [low, high] = range || limits(lines, scaled, logarithmic);
  const x = (value) => MARGIN.left + (value / end) * (right - MARGIN.left);
  const y = (value) => bottom - ((Math.min(high, Math.max(low, scaled(value))) - low) / (high - low)) * (bottom - MARGIN.top);
  for (const tick of logarithmic ? decades(low, high) : roundTicks(low, high, 5)) {
    svg.append(make("line", { x1: MARGIN.left, x2: right, y1: y(tick), y2: y(tick), class: "grid" }));
    svg.append(make("text", { x: MARGIN.left - 6, y: y(tick) + 4, "text-anchor": "end" }, number(tick)));
  }
  for (const tick of roundTicks(0, end, Math.max(2, Math.floor(width / 70)))) {
    svg.append(make("text", { x: x(tick), y: HEIGHT - 7, "text-anchor": "middle" }, number(tick)));
  }
  if (mark !== null && mark !== undefined) svg.append(make("line", { x1: x(mark), x2: x(mark), y1: MARGIN.top, y2: bottom, class: "shown" }));
  for (const line of lines) drawLine(svg, line, x, y);
}

function drawLine(svg, { x: across, y: down, kind, dashes, error, ring = -1 }, x, y) {
  const points = across.map((value, i) => `${x(value).toFixed(1)},${y(down[i]).toFixed(1)}`);
  svg.append(make("polyline", { points: points.join(" "), class: `curve ${kind}`, "stroke-dasharray": dashes }));
  if (error) {
    across.forEach((value, i) => {
      const [top, foot] = [y(down[i] + error[i]), y(Math.max(down[i] - error[i], down[i] / 100))];
      svg.append(make("line", { x1: x(value), x2: x(value), y1: top, y2: foot, class: kind }));
    });
  }
  if (error || across.length === 1) across.forEach((value, i) => svg.append(make("circle", { cx: x(value), cy: y(down[i]), r: 2.5, class: kind })));
  if (ring >= 0) svg.append(make("circle", { cx: x(across[ring]), cy: y(down[ring]), r: 6, class: "best" }));
}

function limits(lines, scaled, logarithmic) {
  const ends = lines.flatMap(({ y, error }) => y.flatMap((value, i) => (error ? [logarithmic ? value : value - error[i], value + error[i]] : [value]))).map(scaled);
  const low = Math.min(...ends), high = Math.max(...ends), room = 0.06 * (high - low) || 0.05 * Math.abs(high) || 1;
  return [!logarithmic && low >= 0 ? Math.max(0, low - room) : low - room, high + room];
}

function roundTicks(low, high, count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
  const ticks = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + 1e-9 * step; n++) ticks.push(Number((n * step).toPrecision(12)));
  return ticks;
}

function decades(low, high) {
  const factors = high - low > 4 ? [1] : high - low > 2 ? [1, 3] : [1, 2, 5], ticks = [];
  for (let power = Math.floor(low); power <= high; power++) {
    for (const factor of factors) {
      const tick = factor * 10 ** power, at = Math.log10(tick);
      if (at >= low && at <= high) ticks.push(Number(tick.toPrecision(6)));
    }
  }
  return ticks;
}

// --- tables

function curveRows() {
  const columns = ["loss_d", "loss_g", "d_real", "d_fake_1", "d_fake_2", "acc_real", "acc_fake"];
  const points = state.curves.step.length, every = Math.max(1, Math.ceil(points / 20)), rows = [];
  for (let i = points - 1; i >= 0; i -= every) {
    rows.unshift([number(Math.round(state.curves.step[i]), 15), ...columns.map((name) => number(state.curves[name][i], 3))]);
  }
  return rows;
}

function tabulate(id, names, rows) {
  const row = (cells, kind) => {
    const line = document.createElement("tr");
    line.append(...cells.map((text) => {
      const cell = document.createElement(kind);
      cell.textContent = text;
      if (kind === "th") cell.scope = "col";
      else cell.className = "number";
      return cell;
    }));
    return line;
  };
  const head = document.createElement("thead"), body = document.createElement("tbody");
  head.append(row(names, "th"));
  body.append(...rows.map((cells) => row(cells, "td")));
  one(id).replaceChildren(head, body);
}

// --- the visitor

one("which").addEventListener("input", () => {
  const all = state.snapshots, picked = all[Number(one("which").value)];
  chosen = picked === all[all.length - 1] ? null : picked.epoch;
  showSnapshot();
  drawAll();
});
one("follow").addEventListener("click", () => {
  chosen = null;
  showSnapshot();
  drawAll();
  one("which").focus(); // the button is disabled now
});
document.addEventListener("visibilitychange", () => { if (!document.hidden) ask(); });
new ResizeObserver(() => { if (state) drawAll(); }).observe(document.querySelector("main"));
ask();
