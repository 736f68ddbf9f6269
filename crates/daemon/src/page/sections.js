// The parts of the page that only show: tiers, the schedule, running transfers, dead letters, dependencies.

import { h } from "./dom.js";
import { ago, bytes, count, duration, moment, plain, rate, span, stamp } from "./format.js";

/** A figure whose exact value a machine can read, shown as `text`. */
export const figure = (value, text, attributes) => h("data", { ...attributes, value: value ?? "" }, text);

const pair = (term, ...value) => [h("dt", {}, term), h("dd", {}, value)];

/** The road that data takes: stream, hot, archive, cold, each with what it holds. */
export function road(stats) {
  const stops = [];
  if (stats.ingest) stops.push(stream(stats.ingest));
  stops.push(tier("Hot", "hot", stats.tiers?.hot), archive(stats.archive), tier("Cold", "cold", stats.tiers?.cold));
  return h("ol", { class: "road" }, stops.filter(Boolean));
}

function stream(ingest) {
  return h("li", { "data-key": "stop stream", class: "stop" },
    h("h3", {}, "Ingest"),
    h("p", { class: "big" }, figure(ingest.rows_per_second, rate(ingest.rows_per_second), { "data-figure": "ingest.rows_per_second" })),
    h("dl", {},
      pair("messages behind", figure(ingest.lag, count(ingest.lag), { "data-figure": "ingest.lag" })),
      pair("dead letters", figure(ingest.dead_letters, count(ingest.dead_letters), { "data-figure": "ingest.dead_letters" }))));
}

function tier(title, name, value) {
  if (!value) return null;
  const oldest = extreme(value.datasets, "oldest", Math.min);
  const newest = extreme(value.datasets, "newest", Math.max);
  return h("li", { "data-key": `stop ${name}`, class: value.reachable ? "stop" : "stop bad" },
    h("h3", {}, title, value.reachable ? null : h("span", { class: "tag bad" }, "✕ not reachable")),
    h("p", { class: "big" }, figure(value.rows, count(value.rows), { "data-figure": `${name}.rows` }), h("span", { class: "unit" }, " rows")),
    h("dl", {},
      pair("size", figure(value.bytes, bytes(value.bytes), { "data-figure": `${name}.bytes` })),
      oldest === null ? null : pair("from", stamp(oldest)),
      newest === null ? null : pair("to", stamp(newest))),
    value.reachable || !value.error ? null : h("p", { class: "reason" }, plain(value.error)));
}

function extreme(datasets, field, choose) {
  const all = (datasets ?? []).map((d) => moment(d[field])).filter((m) => m !== null);
  return all.length ? choose(...all) : null;
}

function archive(value) {
  if (!value) return null;
  const generations = (value.datasets ?? []).reduce((sum, d) => sum + (d.generations ?? 0), 0);
  return h("li", { "data-key": "stop archive", class: "stop" },
    h("h3", {}, "Archive"),
    h("p", { class: "big" }, figure(value.rows, count(value.rows), { "data-figure": "archive.rows" }), h("span", { class: "unit" }, " rows")),
    h("dl", {},
      pair("size", figure(value.bytes, bytes(value.bytes), { "data-figure": "archive.bytes" })),
      value.free_bytes === null || value.free_bytes === undefined ? null : pair("free", figure(value.free_bytes, bytes(value.free_bytes))),
      pair("generations", count(generations)),
      pair("at", h("bdi", { class: "place" }, plain(value.location)))));
}

/** When the next sync is, and what came of the last one. */
export function schedule(sync, now) {
  const { last } = sync;
  const next = moment(sync.next_at);
  const overdue = next !== null && next < now - 60_000;
  return h("dl", { class: "facts" },
    pair("schedule", plain(sync.schedule)),
    pair("next", next === null ? "none" : `${ago(next, now)}, ${stamp(next)}${overdue ? " (late)" : ""}`),
    pair("last", last ? [outcome(last), ` ${ago(moment(last.finished_at), now)}, `, figure(last.windows, `${count(last.windows)} windows`), ", ",
      figure(last.rows, `${count(last.rows)} rows`), `, ${bytes(last.bytes)} in ${duration(seconds(last))}`] : "none since the start"),
    pair("waiting", figure(sync.queued, `${count(sync.queued)} windows`, { "data-figure": "sync.queued" })));
}

const outcome = (last) => (last.ok ? h("span", { class: "good" }, "✓ done") : h("span", { class: "bad" }, "✕ failed"));
const seconds = (last) => (moment(last.finished_at) - moment(last.started_at)) / 1000;

const STEPS = { exporting: "hot → archive", loading: "archive → cold", comparing: "hot, archive and cold", sealing: "hot set aside", dropping: "hot cleaned" };

/** The transfers under way, each with how far its step is, and how many wait for their turn. */
export function running(sync) {
  const tasks = sync.running ?? [];
  if (tasks.length === 0) return h("p", { class: "quiet" }, "No transfer is running.");
  const moving = tasks.filter((t) => t.step !== "waiting");
  const others = tasks.length - moving.length;
  return [
    h("ul", { class: "running" }, moving.map(transfer)),
    others > 0 ? h("p", { class: "quiet" }, `${count(others)} further ${others === 1 ? "window waits for its" : "windows wait for their"} turn.`) : null,
  ];
}

function transfer(t) {
  const total = t.rows_total;
  const known = total !== null && total !== undefined && total > 0;
  const speed = t.seconds > 0 ? t.rows / t.seconds : null;
  const left = known && speed > 0 && t.rows < total ? `, about ${duration((total - t.rows) / speed)} left` : "";
  const label = `${plain(t.dataset)} ${span(moment(t.start), moment(t.end))}`;
  const percent = known ? Math.min(100, Math.floor((t.rows / total) * 100)) : null;
  return h("li", { "data-key": `run ${t.task}`, class: "run" },
    h("p", {}, h("strong", {}, plain(t.dataset)), ` ${span(moment(t.start), moment(t.end))} `, h("span", { class: "tag" }, plain(t.step)),
      STEPS[t.step] ? h("span", { class: "quiet" }, ` ${STEPS[t.step]}`) : null),
    h("progress", { "aria-label": `Progress of ${label}`, max: known ? total : null, value: known ? Math.min(t.rows, total) : null }),
    h("p", { class: "quiet numbers" }, known ? `${percent} % · ${count(t.rows)} of ${count(total)} rows` : `${count(t.rows)} rows`,
      ` · ${bytes(t.bytes)} · ${duration(t.seconds)}${speed === null ? "" : ` · ${rate(speed)}`}${left}`),
    h("button", { type: "button", "data-do": "cancel", "data-task": t.task, "aria-label": `Cancel the transfer of ${label}` }, "Cancel"));
}

/** The newest dead letters, with what to do about them. */
export function letters(stats, answer, failed, now) {
  if (failed) return h("p", { class: "reason" }, `Not to be read: ${plain(failed.message)}`);
  if (!answer) return h("p", { class: "quiet" }, "Asking…");
  if (answer.letters.length === 0) return h("p", { class: "quiet" }, "✓ None: every message became a row.");
  const total = answer.total ?? null;
  return [
    h("p", {}, total === null ? "" : [figure(total, count(total), { "data-figure": "letters.total" }), total === 1 ? " message" : " messages", " could not become rows. "],
      "Nothing is lost: each is kept with its reason and bytes. ", h("code", {}, "mpsync dlq list"), " and ", h("code", {}, "dlq show"),
      " tell more; ", h("code", {}, "dlq replay"), " lands them at their original positions once they can be rows."),
    h("ul", { class: "letters" }, answer.letters.map((l) => h("li", { "data-key": `letter ${l.id}` },
      h("p", {}, h("strong", {}, plain(l.reason)), " ", h("bdi", {}, plain(l.subject)), h("span", { class: "quiet" }, ` ${ago(moment(l.at), now)}`)),
      l.detail ? h("p", { class: "reason" }, plain(l.detail)) : null))),
  ];
}

/** Each dependency: whether it answers, how fast, since when. */
export function checks(health, failed, now) {
  if (!health) return h("p", { class: "quiet" }, failed ? `Not to be read: ${plain(failed.message)}` : "Asking…");
  return h("ul", { class: "checks" }, health.checks.map((c) => h("li", { "data-key": `check ${c.name}`, class: c.ok ? "check" : "check bad" },
    h("span", { class: c.ok ? "good" : "bad" }, c.ok ? "✓" : "✕", h("span", { class: "hidden" }, c.ok ? " well: " : " failing: ")),
    h("strong", {}, plain(c.name)),
    h("span", { class: "quiet numbers" }, [
      c.latency_seconds === null || c.latency_seconds === undefined ? null : latency(c.latency_seconds),
      c.free_bytes === null || c.free_bytes === undefined ? null : `${bytes(c.free_bytes)} free`,
      c.last_success_at ? `seen ${ago(moment(c.last_success_at), now)}` : null,
    ].filter(Boolean).join(" · ")),
    c.detail ? h("span", { class: "reason" }, plain(c.detail)) : null)));
}

const latency = (seconds) => (seconds < 0.001 ? "under 1 ms" : duration(seconds));
