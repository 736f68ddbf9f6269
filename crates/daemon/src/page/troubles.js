// Problems that need operator action, worst first: title, reason, recommended action, and its buttons.

import { h } from "./dom.js";
import { ago, bytes, count, moment, plain } from "./format.js";

const LETTERS = { bad: "✕", warn: "▲", note: "○" };
const SHOWN = 20;

/** What to do about a dependency that fails, by its name. */
const ADVICE = {
  nats: "Is nats-server running, and is nats.url right? Ingest goes on by itself when it answers; the stream keeps what comes meanwhile.",
  hot: "Is the hot ClickHouse running? Ingest holds back and goes on by itself; nothing is acknowledged before it is in hot.",
  cold: "Is the cold ClickHouse running? Ingest is not touched by this; the next sync catches up.",
  archive: "Is the archive's place mounted and writable? Nothing is deleted from hot while it cannot be written.",
  ingest: "See the stalled dataset below and the daemon's log.",
  sync: "See the transfers that halted, and mpsync's log.",
  tasks: "mpsync tasks list says which windows halted and why; nothing is deleted of them. mpsync tasks retry takes one up again once the cause is gone.",
  gaps: "Messages were dropped by the stream's limits before they were read. They cannot come back from JetStream: raise max_age or max_bytes, and see why ingest was behind.",
  doctor: "Run mpsync doctor to see the recommended action for each.",
  "dead-letters": "Run mpsync dead-letters list to see the messages and their reasons.",
  disk: "Free some space or move the folder: when it is full, ingest holds back.",
};

/** The titles of checks that are not the failure of a store. */
const TITLES = {
  "dead-letters": "Unusually many messages become dead letters",
  doctor: "The doctor has warnings",
};

/** Everything that is wrong, as cards with a level. */
export function troubles({ stats, health, tasks, failed, busy }, now) {
  const of = (status) => (tasks ?? []).filter((t) => t.status === status);
  const [halted, waiting, cancelled] = [of("halted"), of("waiting").filter((t) => t.error), of("cancelled")];
  return [
    ...(health?.checks ?? []).filter((c) => !c.ok).map((c) => check(c, now)),
    ...(stats.ingest?.datasets ?? []).filter((d) => d.stalled).map(stalled),
    // /health may tell of it already.
    ...(stats.sync?.last && !stats.sync.last.ok && !(health?.checks ?? []).some((c) => c.name === "sync" && !c.ok) ? [sync(stats.sync.last, now)] : []),
    ...some(halted, (t) => task(t, "bad", "halted", now, busy)),
    ...some(waiting, (t) => task(t, "warn", "waits", now, busy)),
    ...some(cancelled, (t) => task(t, "note", "cancelled", now, busy)),
    ...(failed.health ? [card("health", "warn", "The state of the dependencies cannot be read", plain(failed.health.message), failed.health.hint)] : []),
    ...(failed.tasks && failed.tasks.status !== 404 && stats.sync ? [card("tasks", "warn", "The list of transfers cannot be read", plain(failed.tasks.message), failed.tasks.hint)] : []),
  ];
}

/** The first twenty, and how many more there are. */
function some(tasks, show) {
  const cards = tasks.slice(0, SHOWN).map(show);
  if (tasks.length > SHOWN) {
    const { status } = tasks[0];
    cards.push(card(`more ${status}`, "note", `… and at least ${count(tasks.length - SHOWN)} further ones that are ${status}`, null,
      `mpsync tasks list --status ${status} shows all.`));
  }
  return cards;
}

/** The line that sums it up, in the heading and in the tab's title. */
export function verdict(found, heading, { stats }) {
  const bad = found.filter((t) => t.level === "bad").length;
  const warn = found.filter((t) => t.level === "warn").length;
  const halted = stats.sync?.halted ?? 0;
  const level = bad ? "bad" : warn ? "warn" : "good";
  const text = bad + warn === 0 ? "All is well" : bad + warn === 1 ? "One thing needs you" : `${bad + warn} things need you`;
  const line = `${{ bad: "✕", warn: "▲", good: "✓" }[level]} ${text}${halted ? `: ${halted} ${halted === 1 ? "transfer" : "transfers"} halted` : ""}`;
  if (heading.textContent !== line) heading.textContent = line;
  heading.className = level;
  document.title = bad + warn ? `(${bad + warn}) mpsync` : "mpsync";
}

function card(key, level, title, reason, hint, ...rest) {
  const element = h("article", { "data-key": `trouble ${key}`, class: `trouble ${level}` },
    h("h3", {}, h("span", { class: level, "aria-hidden": "true" }, `${LETTERS[level]} `), title),
    reason ? h("p", { class: "reason" }, reason) : null,
    hint ? h("p", { class: "hint" }, h("strong", {}, "What to do: "), plain(hint)) : null,
    rest);
  return { level, element };
}

function check(c, now) {
  const kind = c.name.split(":")[0];
  const free = c.free_bytes === null || c.free_bytes === undefined ? "" : ` ${bytes(c.free_bytes)} free.`;
  const seen = c.last_success_at ? ` Last well ${ago(moment(c.last_success_at), now)}.` : "";
  return card(`check ${c.name}`, TITLES[kind] ? "warn" : "bad", TITLES[kind] ?? `${plain(c.name)} is not well`, `${plain(c.detail ?? "no detail")}.${free}${seen}`.replace("..", "."), c.hint ?? ADVICE[kind]);
}

function stalled(d) {
  const [why, hint] = d.stalled.split("\n  hint: ");
  return card(`stalled ${d.dataset}`, "bad", `Ingest of ${plain(d.dataset)} stands still`, plain(why),
    hint ?? "It goes on by itself when the cause is gone; the other datasets are not touched. Until then its messages stay in the stream.");
}

function sync(last, now) {
  return card("sync", "warn", `The last sync failed, ${ago(moment(last.finished_at), now)}`, plain(last.error ?? "no reason given"),
    last.hint ?? "What halted is listed below; whatever else was left undone is done by the next sync.");
}

function task(t, level, word, now, busy) {
  const path = (verb) => busy.has(`/transfer-tasks/${encodeURIComponent(t.id)}/${verb}`);
  const button = (verb, text) => h("button", {
    type: "button", "data-do": verb, "data-task": t.id, "aria-label": `${text} ${plain(t.id)}`, "aria-busy": path(verb) ? "true" : null,
  }, text);
  return card(`task ${t.id}`, level, [h("bdi", {}, plain(t.id)), ` ${word} `,
    h("span", { class: "quiet" }, `after ${plain(t.stage)}, attempt ${count(t.attempt)}, ${ago(moment(t.updated_at), now)}`)],
  t.error ? plain(t.error) : null, t.hint,
  h("p", { class: "inline" }, button("retry", "Retry"), word === "cancelled" ? null : button("cancel", "Cancel"), button("history", "History")));
}
