// Chromium, and the questions that the tests put to the page.

import { chromium } from "playwright-core";
import { PATIENCE_MS } from "./daemon.mjs";

const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
  // A container's /dev/shm is often too small for it.
  "--disable-dev-shm-usage"];

export const launch = () => chromium.launch({ executablePath: process.env.CHROMIUM, args: FLAGS, timeout: PATIENCE_MS });

/** A new page at `url`, which remembers each error and each request to somewhere else. */
export async function open(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  const wrong = [];
  page.on("pageerror", (error) => wrong.push(`error: ${error.message}`));
  page.on("console", (message) => {
    // Chromium notes every answer that is no success; /health says 503 by contract, POSTs without the token 401.
    const expected = /status of (503|401|404)/.test(message.text());
    if (message.type() === "error" && !expected) wrong.push(`console: ${message.text()}`);
  });
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== new URL(url).origin) wrong.push(`asked elsewhere: ${request.url()}`);
  });
  await page.goto(url);
  await page.waitForFunction(() => document.querySelector("#pulse").textContent.includes("live"));
  return Object.assign(page, { wrong });
}

/** The exact value behind a figure, by its name. */
export const figure = (page, name) => page.evaluate((n) => {
  const found = document.querySelector(`[data-figure="${n}"]`);
  return found && { value: Number(found.value), text: found.textContent };
}, name);

/** How wide the content is beyond the window. */
export const overhang = (page) => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

/** The texts whose contrast with what they stand on is below 4.5, with the ratio. */
export const faint = (page) => page.evaluate(() => {
  const channels = (c) => c.match(/[\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const c = channels(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    // Letters on hatching (a gap) have no one ground; a disabled button is exempt, as WCAG has it.
    if (!walker.currentNode.nodeValue.trim() || !element.checkVisibility() || element.closest(".gap, .none, :disabled, noscript")) continue;
    const [a, b] = [light(channels(getComputedStyle(element).color)), light(ground(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) found.push(`${ratio.toFixed(2)} ${element.className}: ${walker.currentNode.nodeValue.slice(0, 40)}`);
  }
  return [...new Set(found)];
});
