// Values as text. Pure: knows no document and no clock.

const DASH = "–";
const known = (v) => v !== null && v !== undefined && !Number.isNaN(v);

/** `12,345`: whole, so that it can be compared digit by digit. */
export const count = (n) => (known(n) ? Math.round(n).toLocaleString("en-US") : DASH);

/** `1.24 GB`, in powers of a thousand. */
export function bytes(n) {
  if (!known(n)) return DASH;
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let value = n;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toPrecision(3)} ${units[unit]}`;
}

/** `1,234/s`, `0.4/s`. */
export function rate(x) {
  if (!known(x)) return DASH;
  return `${x > 0 && x < 10 ? Number(x.toPrecision(2)) : count(x)}/s`;
}

/** `3 h 12 min`, from seconds: the two largest units that say something. */
export function duration(seconds) {
  if (!known(seconds)) return DASH;
  const total = Math.max(0, Math.round(seconds));
  if (total < 1) return `${Math.max(0, Math.round(seconds * 1000))} ms`;
  const parts = [
    [Math.floor(total / 86400), "d"],
    [Math.floor(total / 3600) % 24, "h"],
    [Math.floor(total / 60) % 60, "min"],
    [total % 60, "s"],
  ];
  const first = parts.findIndex(([n]) => n > 0);
  return parts
    .slice(first, first + 2)
    .filter(([n]) => n > 0)
    .map(([n, unit]) => `${n} ${unit}`)
    .join(" ");
}

/** Milliseconds since 1970 of an RFC 3339 text; null where there is none. */
export function moment(text) {
  const ms = Date.parse(text ?? "");
  return Number.isNaN(ms) ? null : ms;
}

const iso = (ms) => new Date(ms).toISOString();

/** `14:05:09`. */
export const clock = (ms) => (known(ms) ? iso(ms).slice(11, 19) : DASH);

/** `2026-01-02 14:05`. */
export const stamp = (ms) => (known(ms) ? iso(ms).slice(0, 16).replace("T", " ") : DASH);

/** `2026-01-02`. */
export const day = (ms) => iso(ms).slice(0, 10);

/** `12 s ago`, `in 4 min`. */
export function ago(ms, now) {
  if (!known(ms)) return "never";
  const seconds = (now - ms) / 1000;
  if (Math.abs(seconds) < 1) return "now";
  return seconds > 0 ? `${duration(seconds)} ago` : `in ${duration(-seconds)}`;
}

/** `2026-01-02 14:00 – 15:00`. */
export function span(start, end) {
  if (!known(start) || !known(end)) return DASH;
  const same = day(start) === day(end - 1);
  return `${stamp(start)} – ${same ? (iso(end).slice(11, 16) === "00:00" ? "24:00" : iso(end).slice(11, 16)) : stamp(end)}`;
}

/**
 * Text from outside, with what is not seen or turns the reading direction written as `\u{202e}`: a symbol cannot pass for
 * another one or rearrange the line that it stands in.
 */
export function plain(text) {
  return String(text ?? "").replace(
    /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cs}]/gu,
    (c) => (c === "\n" ? "\n" : `\\u{${c.codePointAt(0).toString(16)}}`),
  );
}
