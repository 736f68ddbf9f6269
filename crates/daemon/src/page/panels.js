// What opens above the page: the token's dialog and a window's history. And the choice of days.

import { get } from "./api.js";
import { token } from "./api.js";
import { STAGES, describe } from "./calendar.js";
import { at, fill, h } from "./dom.js";
import { count, moment, plain, stamp, clock } from "./format.js";

let answerToken = null;

/** Asks for the token once; resolves to whether one was given. */
export function demandToken(why) {
  const dialog = at("token-dialog");
  at("token-why").textContent = why;
  at("token").value = "";
  if (!dialog.open) dialog.showModal();
  at("token").focus();
  return new Promise((resolve) => {
    answerToken?.(false);
    answerToken = resolve;
  });
}

at("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const given = at("token").value.trim();
  if (!given) return;
  token.set(given);
  close(true);
});

// Escape closes a dialog too.
at("token-dialog").addEventListener("close", () => close(false));

function close(given) {
  const answer = answerToken;
  answerToken = null;
  at("token").value = "";
  if (at("token-dialog").open) at("token-dialog").close();
  answer?.(given);
}

/** Says what a window of the calendar is, below the grids. */
export function showWindow(text) {
  at("window-line").textContent = text;
}

/** Opens what is known of a window: its task with its history. `w` is the calendar's knowledge of it, if it came from there. */
export async function openWindow(id, w) {
  const dialog = at("window-dialog");
  at("window-title").textContent = plain(id);
  const known = w ? h("p", {}, h("span", { class: `cell ${w.stage}`, "aria-hidden": "true" }, STAGES.get(w.stage)?.[0] ?? "?"), ` ${describe(w)}`) : null;
  fill(at("window-body"), known, h("p", { class: "quiet" }, "Asking for its history…"));
  if (!dialog.open) dialog.showModal();
  let rest;
  try {
    rest = story(await get(`/transfer-tasks/${encodeURIComponent(id)}`));
  } catch (error) {
    rest = h("p", { class: "quiet" }, error.status === 404 ? "No transfer of this window is recorded yet." : `Its history cannot be read: ${plain(error.message)}`);
  }
  // Another window may have been opened meanwhile.
  if (at("window-title").textContent === plain(id)) fill(at("window-body"), known, rest);
}

function story(t) {
  const button = (verb, text) => h("button", { type: "button", "data-do": verb, "data-task": t.id }, text);
  const entries = (t.history ?? []).slice().reverse();
  return [
    h("p", {}, h("strong", {}, plain(t.status)), ` after ${plain(t.stage)}, attempt ${count(t.attempt)}${t.holder ? `, held by ${plain(t.holder)}` : ""}`),
    t.error ? h("p", { class: "reason" }, plain(t.error)) : null,
    t.hint ? h("p", { class: "hint" }, h("strong", {}, "What to do: "), plain(t.hint)) : null,
    h("p", { class: "inline" }, ["halted", "cancelled", "waiting"].includes(t.status) ? button("retry", "Retry") : null,
      ["halted", "waiting", "queued", "running"].includes(t.status) ? button("cancel", "Cancel") : null),
    entries.length === 0 ? null : h("ol", { class: "story", tabindex: 0, "aria-label": "History, newest first" }, entries.map((e) => h("li", {},
      h("span", { class: "numbers quiet" }, `${stamp(moment(e.at)).slice(0, 10)} ${clock(moment(e.at))}`), ` attempt ${count(e.attempt)}: `,
      h("strong", {}, plain([e.event, e.stage, e.status].filter(Boolean).join(" "))), e.holder ? h("span", { class: "quiet" }, ` ${plain(e.holder)}`) : null,
      e.error ? h("p", { class: "reason" }, plain(e.error)) : null))),
  ];
}

/** How many days are shown, and the way back. */
export function rangeButtons({ days, back }) {
  const choice = [2, 7, 31].map((n) => h("button", {
    type: "button", "data-do": "days", "data-days": n, "aria-pressed": days === n ? "true" : "false",
  }, `${n} days`));
  return [
    choice,
    h("button", { type: "button", "data-do": "earlier", "aria-label": `${days} days earlier` }, "← earlier"),
    h("button", { type: "button", "data-do": "later", "aria-label": `${days} days later`, disabled: back === 0 }, "later →"),
  ];
}
