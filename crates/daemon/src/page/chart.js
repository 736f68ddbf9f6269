// Small charts, as SVG with attributes only (the page's policy allows no inline style).

import { s } from "./dom.js";

const WIDTH = 120;
const HEIGHT = 28;

/**
 * A line over the last minutes, from `points` of `[milliseconds, value]`. Zero is the bottom; the top is the largest value.
 * Where a sample is missing the line is broken, not drawn through.
 */
export function sparkline(points, kind, label) {
  const values = points.map(([, v]) => v);
  const top = Math.max(1e-9, ...values);
  const from = points[0]?.[0] ?? 0;
  const to = points.at(-1)?.[0] ?? 1;
  const x = (t) => round(to > from ? ((t - from) / (to - from)) * WIDTH : WIDTH);
  const y = (v) => round(HEIGHT - 1.5 - (v / top) * (HEIGHT - 4));
  const svg = s("svg", {
    class: `spark ${kind}`, viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": label,
  });
  svg.append(s("line", { class: "base", x1: 0, x2: WIDTH, y1: HEIGHT - 1, y2: HEIGHT - 1 }));
  for (const piece of pieces(points)) {
    const line = piece.map(([t, v]) => `${x(t)} ${y(v)}`).join("L");
    const [first, last] = [x(piece[0][0]), x(piece.at(-1)[0])];
    svg.append(
      s("path", { class: "area", d: `M${first} ${HEIGHT - 1}L${line}L${last} ${HEIGHT - 1}Z` }),
      s("path", { class: "line", d: `M${line}` }),
    );
  }
  return svg;
}

const round = (n) => Math.round(n * 10) / 10;

/** Runs of points with no hole of more than 20 s, which is four samples. */
function pieces(points) {
  const all = [];
  for (const point of points) {
    const run = all.at(-1);
    if (run && point[0] - run.at(-1)[0] <= 20_000) run.push(point);
    else all.push([point]);
  }
  return all;
}
