"use strict";
// Data, and the small drawing kit that every plot uses.
const data = JSON.parse(document.getElementById("data").textContent);
const words = data.words;
const runs = data.rows.filter(row => row.trial !== 0);
const base = data.rows.find(row => row.trial === 0);
const rowOf = new Map(data.rows.map(row => [row.trial, row]));

const flagColours = {
  ok: "#009e73", overfit: "#d55e00", underfit: "#b8860b", too_slow: "#cc79a7",
  diverged: "#b3261e", failed: "#7f1d1d", running: "#0072b2", pending: "#999999", base: "#777777",
};
const viridis = [[68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141],
  [39, 173, 129], [92, 200, 99], [170, 220, 50], [253, 231, 37]];

function shade(share) {
  const place = Math.min(1, Math.max(0, share)) * (viridis.length - 1);
  const at = Math.min(viridis.length - 2, Math.floor(place));
  return viridis[at].map((c, i) => Math.round(c + (place - at) * (viridis[at + 1][i] - c)));
}
const rgb = colour => `rgb(${colour.join(",")})`;
function inkOn(colour) {
  const [r, g, b] = colour.map(c => (c / 255) ** 2.2);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.25 ? "#1d2330" : "#ffffff";
}

function create(space, name, attributes, children) {
  const element = space ? document.createElementNS(space, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value);
  }
  element.append(...children.flat().filter(child => child !== null && child !== undefined));
  return element;
}
const html = (name, attributes, ...children) => create(null, name, attributes, children);
const svg = (name, attributes, ...children) =>
  create("http://www.w3.org/2000/svg", name, attributes, children);

const isNumber = value => typeof value === "number" && Number.isFinite(value);
const pad = trial => (trial === 0 ? words.base_model : String(trial).padStart(3, "0"));
// Vietnamese has a decimal comma.
const decimal = text => data.lang === "vi" ? text.replace(".", ",") : text;
const loss = value => !isNumber(value) ? "–" : decimal(Math.abs(value) < 1000 ? value.toFixed(4) : value.toExponential(3));
const signed = value => !isNumber(value) ? "–" : (value >= 0 ? "+" : "") + loss(value);
function plain(value) {
  if (!isNumber(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2).replace(/\.?0+e/, "e").replace("e+", "e");
  return decimal(String(+value.toPrecision(4)));
}

function extent(values) {
  const numbers = values.filter(isNumber);
  if (!numbers.length) return null;
  return [numbers.reduce((a, b) => Math.min(a, b)), numbers.reduce((a, b) => Math.max(a, b))];
}

// The base model's loss, from which curves fall steeply, would flatten what comes after: axes of curves
// leave it out, unless the reader asks for it on a log axis.
let showBase = false;
const isWithin = (epoch, span) => !span || (epoch >= span[0] && epoch <= span[1]);
function curveRange(row, names, span) {
  const isShown = epoch => (showBase || epoch > 0) && isWithin(epoch, span);
  return names.flatMap(name => row.curve[name].filter((_, at) => isShown(row.curve.epoch[at])));
}
function robustRange(values) {
  const numbers = values.filter(isNumber).sort((a, b) => a - b);
  if (!numbers.length) return null;
  const low = numbers[0], high = numbers[numbers.length - 1], most = numbers[Math.floor(0.9 * (numbers.length - 1))];
  return [low, showBase || most <= low ? high : Math.min(high, most + 2 * (most - low))];
}
const baseSwitch = redraw => html("label", { class: "note switch" },
  html("input", { type: "checkbox", checked: showBase, onchange: event => { showBase = event.target.checked; redraw(); } }),
  " ", words.show_base);

// Losses of diverged runs would flatten all others: the range of many runs ends a little above the
// base model, that of a single one also shows nine tenths of its own points.
function lossRange(values, isSingle) {
  const numbers = values.filter(isNumber).sort((a, b) => a - b);
  if (!numbers.length) return null;
  const low = numbers[0], most = numbers[Math.floor(0.9 * (numbers.length - 1))];
  const known = base && isNumber(base.loss) && base.loss > low ? base.loss : most;
  const limit = isSingle ? Math.max(most, known) : known;
  return [low, Math.min(numbers[numbers.length - 1], limit + 0.15 * (limit - low))];
}

// A scale from values to pixels, with its ticks.
function scale(range, pixels, isLog) {
  let [low, high] = range;
  if (isLog && !(low > 0)) isLog = false;
  if (low === high) {
    [low, high] = isLog ? [low / 2, high * 2] : [low - Math.abs(low || 1) * 0.1, high + Math.abs(high || 1) * 0.1];
  } else if (isLog) {
    const room = (high / low) ** 0.04;
    [low, high] = [low / room, high * room];
  } else {
    const room = 0.04 * (high - low);
    [low, high] = [low - room, high + room];
  }
  const place = isLog
    ? value => (Math.log(value) - Math.log(low)) / (Math.log(high) - Math.log(low))
    : value => (value - low) / (high - low);
  const at = value => pixels[0] + place(value) * (pixels[1] - pixels[0]);
  at.value = pixel => low + (pixel - pixels[0]) / (pixels[1] - pixels[0]) * (high - low);
  at.ticks = isLog ? logTicks(low, high) : linearTicks(low, high);
  return at;
}
function linearTicks(low, high) {
  const rough = (high - low) / 5, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map(n => n * power).find(n => n >= rough) || rough;
  const ticks = [];
  for (let n = Math.ceil(low / step); n * step <= high && ticks.length < 12; n++) ticks.push(n * step);
  return ticks;
}
function logTicks(low, high) {
  const within = digits => {
    const ticks = [];
    for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++)
      for (const digit of digits) if (digit * 10 ** e >= low && digit * 10 ** e <= high) ticks.push(digit * 10 ** e);
    return ticks;
  };
  const few = within([1]);
  return few.length > 2 ? few : within([1, 2, 5]);
}

// Axes with a clipped area to draw in. `x` and `y`: {range, log, label}.
let clips = 0;
function frame(width, height, x, y) {
  const left = 56, right = 12, top = 8, bottom = 36;
  const X = scale(x.range, [left, width - right], x.log), Y = scale(y.range, [height - bottom, top], y.log);
  const id = `clip${clips++}`;
  const area = svg("g", { "clip-path": `url(#${id})` });
  const marks = svg("g", {});
  for (const tick of X.ticks) marks.append(
    svg("line", { class: "gridline", x1: X(tick), x2: X(tick), y1: top, y2: height - bottom }),
    svg("text", { x: X(tick), y: height - bottom + 14, "text-anchor": "middle" }, plain(tick)));
  for (const tick of Y.ticks) marks.append(
    svg("line", { class: "gridline", x1: left, x2: width - right, y1: Y(tick), y2: Y(tick) }),
    svg("text", { x: left - 6, y: Y(tick) + 4, "text-anchor": "end" }, plain(tick)));
  marks.append(
    svg("text", { x: (left + width - right) / 2, y: height - 4, "text-anchor": "middle" }, x.label),
    svg("text", { x: 0, y: 0, transform: `translate(12 ${(top + height - bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, y.label));
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" },
    svg("defs", {}, svg("clipPath", { id }, svg("rect", { x: left, y: top, width: width - left - right, height: height - top - bottom }))),
    marks, area);
  return { root, area, X, Y, left, right: width - right, top, bottom: height - bottom };
}
// Dragging over a plot shows these epochs alone, a double click all of them again.
const LEAST_DRAG = 8;
function zoomable(f, redraw) {
  const box = svg("rect", { class: "shade", y: f.top, height: f.bottom - f.top });
  const place = event => {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(f.root.getScreenCTM().inverse());
    return Math.max(f.left, Math.min(f.right, point.x));
  };
  let from = null;
  const ends = event => [from, place(event)].sort((a, b) => a - b);
  f.root.classList.add("zoomable");
  f.root.addEventListener("pointerdown", event => { if (event.button === 0) from = place(event); });
  f.root.addEventListener("pointermove", event => {
    if (from === null) return;
    const [low, high] = ends(event);
    box.setAttribute("x", low);
    box.setAttribute("width", high - low);
    f.area.prepend(box);
  });
  f.root.addEventListener("pointerleave", () => { from = null; box.remove(); });
  f.root.addEventListener("pointerup", event => {
    if (from === null) return;
    const [low, high] = ends(event);
    from = null;
    box.remove();
    if (high - low >= LEAST_DRAG) redraw([f.X.value(low), f.X.value(high)]);
  });
  f.root.addEventListener("dblclick", () => redraw(null));
}
// Far outside the page is far enough.
const pixel = value => Math.max(-9999, Math.min(9999, value)).toFixed(1);
function path(xs, ys, X, Y) {
  let text = "", pen = "M";
  xs.forEach((x, at) => {
    if (isNumber(x) && isNumber(ys[at])) { text += `${pen}${pixel(X(x))} ${pixel(Y(ys[at]))}`; pen = "L"; }
    else pen = "M";
  });
  return text;
}
const card = (title, body, wide, note) => html("article", { class: wide ? "card wide" : "card" },
  html("h3", {}, title), body || html("p", { class: "note" }, words.no_data), note ? html("p", { class: "note" }, note) : null);
const summary = row => `${words.trial} ${pad(row.trial)}: ${loss(row.loss)}` +
  data.parameters.map((p, at) => row.text[at] === null ? "" : `, ${p.name} ${row.text[at]}`).join("") + ` (${row.flag})`;
