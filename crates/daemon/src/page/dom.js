// Elements from plain values. Text only ever becomes text nodes and attributes, so nothing that a message, a server or a file
// says can become markup; what would carry code or style (on…, style, srcdoc, javascript:) is refused.

const SVG = "http://www.w3.org/2000/svg";
const REFUSED = /^(on|style$|srcdoc$|innerhtml$|outerhtml$)/i;

function build(element, attributes, content) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (REFUSED.test(name)) throw new Error(`attribute ${name} is not for this page`);
    if (name === "href" && !/^(#|\/(?!\/))/.test(value)) throw new Error("a link leads elsewhere");
    element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...flat(content));
  return element;
}

function flat(content) {
  return content
    .flat(Infinity)
    .filter((c) => c !== null && c !== undefined && c !== false)
    .map((c) => (c instanceof Node ? c : document.createTextNode(String(c))));
}

/** An HTML element: `h("td", {class: "n"}, "12")`. */
export function h(name, attributes, ...content) {
  return build(document.createElement(name), attributes, content);
}

/** An SVG element. */
export function s(name, attributes, ...content) {
  return build(document.createElementNS(SVG, name), attributes, content);
}

const key = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.getAttribute("data-key") : null);
const alike = (a, b) => a.nodeName === b.nodeName && key(a) === key(b);

/**
 * Makes `parent` hold `content`, changing in place what is there already: focus, selection, scroll and pressed buttons stay.
 * Elements with a `data-key` are found again wherever they have moved to.
 */
export function fill(parent, ...content) {
  const keyed = new Map();
  for (const child of parent.children) if (key(child)) keyed.set(key(child), child);
  let at = parent.firstChild;
  for (const next of flat(content)) {
    const old = key(next) ? keyed.get(key(next)) : at && !key(at) ? at : null;
    if (old && alike(old, next)) {
      if (old === at) at = at.nextSibling;
      else parent.insertBefore(old, at);
      update(old, next);
    } else {
      parent.insertBefore(next, at);
    }
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
}

function update(old, next) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.nodeValue !== next.nodeValue) old.nodeValue = next.nodeValue;
    return;
  }
  for (const { name } of [...old.attributes]) if (!next.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of next.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  fill(old, ...next.childNodes);
}

/** The element with this id. */
export const at = (id) => document.getElementById(id);
