// The calendar: one small grid a dataset, a row a day, a column an hour. A stage has a colour, a letter and a text.

import { h } from "./dom.js";
import { count, day, plain, span } from "./format.js";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

/** Every stage: letter, what it means. The order ranks the stages of an hour with several windows, the worst first. */
export const STAGES = new Map([
  ["halted", ["!", "halted: something differs or failed; nothing is deleted until it is resolved"]],
  ["gap", ["×", "gap: JetStream's limits dropped messages before they were read"]],
  ["hot", ["H", "hot: not yet in the archive"]],
  ["archived", ["A", "archived: in the archive, not yet in cold"]],
  ["loaded", ["L", "loaded: in cold, not yet proven"]],
  ["verified", ["V", "verified: hot, archive and cold were proven to be the same"]],
  ["cleaned", ["·", "cleaned: proven, and hot no longer holds it"]],
]);
const WORST = [...STAGES.keys()];

/** The id of a window's transfer task. */
export function taskId({ dataset, start, end }) {
  const compact = (t) => new Date(Date.parse(t)).toISOString().replace(/[-:]|\.\d+/g, "");
  return `${dataset}@${compact(start)}-${compact(end)}`;
}

/** The days shown: whole days up to and with today. `back` shifts by that many pages into the past. */
export function range(now, days, back) {
  const to = (Math.floor(now / DAY) + 1 - back * days) * DAY;
  return { from: to - days * DAY, to };
}

/** Windows by dataset and hour: `Map(dataset → Map(hour since 1970 → windows that touch it))`. */
export function byHour(windows, { from, to }) {
  const datasets = new Map();
  for (const w of windows) {
    const start = Math.max(from, Date.parse(w.start));
    const end = Math.min(to, Date.parse(w.end));
    if (!(start < end)) continue;
    if (!datasets.has(w.dataset)) datasets.set(w.dataset, new Map());
    const hours = datasets.get(w.dataset);
    for (let hour = Math.floor(start / HOUR); hour * HOUR < end; hour += 1) {
      if (!hours.has(hour)) hours.set(hour, []);
      hours.get(hour).push(w);
    }
  }
  return datasets;
}

/** Of several windows in one hour the one that most needs to be seen. */
export function worst(windows) {
  const rank = (w) => (WORST.includes(w.stage) ? WORST.indexOf(w.stage) : WORST.length);
  return windows.reduce((a, b) => (rank(b) < rank(a) ? b : a));
}

/** What is said of a window. */
export function describe(w) {
  const [, meaning] = STAGES.get(w.stage) ?? ["?", w.stage];
  const generations = w.generations > 1 ? `, ${w.generations} generations` : "";
  const rows = w.rows === null || w.rows === undefined ? "" : `, ${count(w.rows)} rows${generations}`;
  return `${plain(w.dataset)} ${span(Date.parse(w.start), Date.parse(w.end))}${rows}. ${capital(meaning)}.`;
}

const capital = (text) => text[0].toUpperCase() + text.slice(1);

/** The legend, with how many windows are at each stage. */
export function legend(windows) {
  const counts = new Map();
  for (const w of windows) counts.set(w.stage, (counts.get(w.stage) ?? 0) + 1);
  return h("ul", { class: "legend" }, WORST.slice().reverse().map((stage) => {
    const [letter, meaning] = STAGES.get(stage);
    return h("li", { title: capital(meaning) },
      h("span", { class: `cell ${stage}`, "aria-hidden": "true" }, letter), ` ${stage} `,
      h("data", { class: "quiet", value: counts.get(stage) ?? 0, "data-stage": stage }, count(counts.get(stage) ?? 0)));
  }));
}

/**
 * The grids. One cell of each is in the tab order, `cursor(dataset)`, an hour; the arrow keys move it.
 */
export function calendar(windows, { from, to }, now, cursor) {
  const datasets = [...byHour(windows, { from, to })].sort(([a], [b]) => a.localeCompare(b));
  if (datasets.length === 0) return [h("p", { class: "quiet" }, "No window in these days.")];
  return datasets.map(([dataset, hours]) => grid(dataset, hours, { from, to }, now, cursor(dataset)));
}

function grid(dataset, hours, { from, to }, now, cursor) {
  const name = plain(dataset);
  const last = Math.max(...hours.keys());
  const focus = hours.has(cursor) ? cursor : last;
  const rows = [];
  for (let t = to - DAY; t >= from; t -= DAY) rows.push(row(dataset, hours, t, now, focus));
  const heads = Array.from({ length: 24 }, (_, n) => h("span", { role: "columnheader", class: "hour" }, n % 6 === 0 ? pad(n) : ""));
  return h("div", { class: "month", "data-key": `month ${dataset}` },
    h("h3", {}, name),
    h("div", { role: "grid", class: "grid", "aria-label": `Windows of ${name}, a row a day, a column an hour` },
      h("div", { role: "row", class: "week head" }, h("span", { role: "columnheader", class: "day" }, h("span", { class: "hidden" }, "Day")), heads),
      rows));
}

function row(dataset, hours, t, now, focus) {
  const cells = [];
  for (let n = 0; n < 24; n += 1) {
    const hour = t / HOUR + n;
    cells.push(cell(dataset, hours.get(hour), hour, now, focus));
  }
  const date = day(t);
  return h("div", { role: "row", class: "week" },
    h("span", { role: "rowheader", class: "day", title: date }, h("span", { "aria-hidden": "true" }, date.slice(5)), h("span", { class: "hidden" }, date)),
    cells);
}

function cell(dataset, windows, hour, now, focus) {
  const current = hour === Math.floor(now / HOUR) ? " now" : "";
  if (!windows) return h("span", { role: "gridcell", class: `cell none${current}` });
  const w = worst(windows);
  const [letter] = STAGES.get(w.stage) ?? ["?"];
  const others = windows.length > 1 ? ` (${windows.length} windows in this hour; this is the one to see)` : "";
  return h("span", {
    role: "gridcell", class: `cell ${STAGES.has(w.stage) ? w.stage : "none"}${current}`, tabindex: hour === focus ? 0 : -1,
    "data-do": "window", "data-dataset": dataset, "data-hour": hour, title: describe(w) + others,
    "aria-label": describe(w) + others,
  }, letter);
}

const pad = (n) => String(n).padStart(2, "0");

/** The hour that an arrow key leads to from `hour`: the nearest one in that direction that holds a window. */
export function step(hours, hour, arrow) {
  const jump = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: 24, ArrowDown: -24 }[arrow];
  const within = [...hours.keys()];
  const [least, most] = [Math.min(...within), Math.max(...within)];
  for (let to = hour + jump; to >= least && to <= most; to += jump) if (hours.has(to)) return to;
  return { Home: least, End: most }[arrow] ?? hour;
}
