// The table of datasets: rate and lag with their charts, what each tier holds, and all counters on demand.

import { sparkline } from "./chart.js";
import { h } from "./dom.js";
import { ago, bytes, count, moment, plain, rate, stamp } from "./format.js";
import { figure } from "./sections.js";

/** Everything known of each dataset, by name, in the order in which ingest lists them and then the tiers. */
function gather(stats) {
  const all = new Map();
  const put = (list, part) => {
    for (const d of list ?? []) all.set(d.dataset, { ...all.get(d.dataset), [part]: d });
  };
  put(stats.ingest?.datasets, "ingest");
  put(stats.tiers?.hot?.datasets, "hot");
  put(stats.archive?.datasets, "archive");
  put(stats.tiers?.cold?.datasets, "cold");
  return all;
}

/** The table; `open` holds the names of the datasets whose counters are shown. */
export function datasets(stats, open, now) {
  const all = gather(stats);
  if (all.size === 0) return h("p", { class: "quiet" }, "No dataset has rows yet.");
  const columns = columnsOf(stats);
  const body = [...all].map(([name, d]) => [
    row(name, d, columns, open.has(name), now),
    open.has(name) ? details(name, d, columns.length + 1) : null,
  ]);
  return h("table", { class: "datasets", role: "table" },
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, h("th", { role: "columnheader", scope: "col" }, "Dataset"),
      columns.map((c) => h("th", { role: "columnheader", scope: "col", class: c.class }, c.title)))),
    h("tbody", { role: "rowgroup" }, body));
}

function columnsOf(stats) {
  const ingest = [
    { title: "Rows per second", class: "chart", of: (d) => charted(d.ingest, "rows_per_second", 1, rate, "rate", "rows per second") },
    { title: "Messages behind", class: "chart", of: (d) => charted(d.ingest, "lag", 2, count, "lag", "messages behind") },
    { title: "Last insert", class: "n", of: (d, now) => d.ingest && ago(moment(d.ingest.last_insert_at), now) },
    { title: "Dead letters", class: "n", of: (d) => d.ingest && figure(dead(d.ingest), count(dead(d.ingest)), { "data-figure": `${d.ingest.dataset}.dead_letters` }) },
  ];
  const rows = (title, part, measured) => ({
    title, class: "n",
    of: (d) => d[part] && [figure(d[part].rows, count(d[part].rows), { "data-figure": `${d[part].dataset}.${part}.rows` }),
      h("span", { class: "quiet size" }, bytes(d[part].bytes))],
    shown: measured,
  });
  return [
    ...(stats.ingest ? ingest : []),
    rows("Rows in hot", "hot", stats.tiers?.hot), rows("in the archive", "archive", stats.archive), rows("in cold", "cold", stats.tiers?.cold),
  ].filter((c) => c.shown !== null && c.shown !== undefined || !("shown" in c));
}

const dead = (ingest) => Object.values(ingest.dead_letters ?? {}).reduce((a, b) => a + b, 0);

function charted(ingest, field, index, text, kind, words) {
  if (!ingest) return null;
  const points = (ingest.history ?? []).map((p) => [p[0], p[index]]);
  const most = points.length ? Math.max(...points.map((p) => p[1])) : 0;
  const label = `${words}, last ${Math.round(points.length / 12)} minutes: now ${text(ingest[field])}, most ${text(most)}`;
  return [
    points.length > 1 ? sparkline(points, kind, label) : null,
    figure(ingest[field], text(ingest[field]), { "data-figure": `${ingest.dataset}.${field}`, title: label }),
  ];
}

function row(name, d, columns, open, now) {
  const stalled = d.ingest?.stalled;
  return h("tr", { role: "row", "data-key": `dataset ${name}`, class: stalled ? "stalled" : null },
    h("th", { role: "rowheader", scope: "row" },
      h("button", { type: "button", class: "more", "data-do": "more", "data-dataset": name, "aria-expanded": open ? "true" : "false" },
        h("span", { class: "turn", "aria-hidden": "true" }, open ? "▾" : "▸"), " ", plain(name)),
      stalled ? h("span", { class: "tag bad" }, "■ stalled") : null),
    columns.map((c) => h("td", { role: "cell", class: c.class, "data-label": c.title }, c.of(d, now) ?? "–")));
}

const COUNTERS = [
  ["messages", "messages taken"], ["rows", "rows inserted"], ["batches", "batches"], ["inserts", "inserts"], ["insert_retries", "inserts repeated"],
  ["redelivered", "delivered again"], ["already_held", "already held"], ["gap_sequences", "messages dropped by JetStream"],
  ["rewinds", "rewinds of the stream"], ["rounded", "numbers rounded"], ["settled_seq", "settled up to sequence"],
];

function details(name, d, width) {
  const facts = [];
  const add = (term, value, text) => facts.push(h("dt", {}, term), h("dd", {}, figure(value, text)));
  if (d.ingest) {
    for (const [field, words] of COUNTERS) add(words, d.ingest[field], count(d.ingest[field]));
    add("bytes taken", d.ingest.bytes, bytes(d.ingest.bytes));
    for (const [reason, n] of Object.entries(d.ingest.dead_letters ?? {})) add(`dead letters: ${plain(reason)}`, n, count(n));
    for (const [field, n] of Object.entries(d.ingest.unknown_fields ?? {})) add(`field without a column: ${plain(field)}`, n, count(n));
  }
  for (const part of ["hot", "cold"]) {
    if (!d[part]) continue;
    add(`parts in ${part}`, d[part].parts, count(d[part].parts));
    add(`in ${part} from`, d[part].oldest, stamp(moment(d[part].oldest)));
    add(`in ${part} to`, d[part].newest, stamp(moment(d[part].newest)));
  }
  if (d.archive) for (const field of ["windows", "generations", "chunks"]) add(`${field} in the archive`, d.archive[field], count(d.archive[field]));
  return h("tr", { role: "row", class: "details", "data-key": `details ${name}` },
    h("td", { role: "cell", colspan: width }, d.ingest?.stalled ? h("p", { class: "reason" }, plain(d.ingest.stalled)) : null, h("dl", { class: "facts" }, facts)));
}
