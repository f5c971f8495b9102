// Helpers that build elements and format numbers. Text of a run becomes a text node, never markup.

const DASH = "\u2013";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

const el = (name, attributes, ...children) =>
  fill(document.createElement(name), attributes, children);
const svg = (name, attributes, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);

const dotted = (parts) => parts.filter(Boolean).join(" \u00b7 ");
const quiet = (text) => el("p", { class: "quiet" }, text);

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

/** Format with four significant digits; a dash if the value is missing or not finite. */
function number(value) {
  if (!isNumber(value)) return DASH;
  const short = Number(value.toPrecision(4));
  const size = Math.abs(short);
  if (size === 0) return "0";
  if (size < 1e-3 || size >= 1e7) return short.toExponential(3);
  return size >= 1e4 ? short.toLocaleString("en") : short.toPrecision(4);
}

/** Format a count: whole if small, else four significant digits in thousands or millions. */
function count(value) {
  if (!isNumber(value)) return DASH;
  if (value >= 1e9) return `${number(value / 1e9)}G`;
  if (value >= 1e6) return `${number(value / 1e6)}M`;
  if (value >= 1e4) return `${number(value / 1e3)}k`;
  return Number.isInteger(value) ? String(value) : number(value);
}

function date(time, length = 16) {
  return isNumber(time) ? new Date(time).toISOString().slice(0, length).replace("T", " ") : DASH;
}
