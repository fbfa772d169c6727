// Plots of the sweep as a whole.
const chosenLast = list => list.slice().sort((a, b) => (a.trial === data.chosen) - (b.trial === data.chosen));

function curvesChart(of, label, range, isLog, span) {
  const shown = runs.filter(row => row.curve && row.curve.epoch.length > 1);
  const xRange = span || extent(shown.flatMap(row => row.curve.epoch)), yRange = range(shown, span) || range(shown);
  if (!xRange || !yRange) return null;
  const f = frame(620, 320, { range: xRange, label: words.epoch }, { range: yRange, label, log: isLog });
  const opacity = Math.max(0.25, Math.min(0.9, 30 / shown.length));
  for (const row of chosenLast(shown)) {
    const isChosen = row.trial === data.chosen;
    f.area.append(svg("path", { class: isChosen ? "run chosen" : "run", d: path(row.curve.epoch, of(row), f.X, f.Y),
      stroke: flagColours[row.flag], opacity: isChosen ? 1 : opacity, "data-trial": row.trial, "data-tip": summary(row) }));
  }
  return f;
}
function flagLegend() {
  const present = Object.keys(flagColours).filter(flag => runs.some(row => row.flag === flag));
  return html("ul", { class: "legend" }, present.map(flag => html("li", {}, html("i", { style: `background:${flagColours[flag]}` }), flag)));
}
function curves() {
  const place = html("div", {});
  let span = null;
  const range = (shown, span) => showBase && !span ? lossRange(shown.flatMap(row => row.curve.validation))
    : robustRange(shown.filter(row => row.flag !== "diverged").flatMap(row => curveRange(row, ["validation"], span)));
  const draw = () => {
    const f = curvesChart(row => row.curve.validation, words.validation_loss, range, showBase, span);
    if (f && base && isNumber(base.loss)) f.area.append(svg("line", { class: "baseline", x1: f.left, x2: f.right, y1: f.Y(base.loss), y2: f.Y(base.loss) }));
    if (f) zoomable(f, next => { span = next; draw(); });
    place.replaceChildren(f ? f.root : words.no_data);
  };
  draw();
  return card(words.curves, html("div", {}, baseSwitch(draw), place, flagLegend()), false, words.zoom_hint);
}
function gaps() {
  const of = row => row.curve.validation.map((v, at) => isNumber(v) && isNumber(row.curve.train[at]) ? v - row.curve.train[at] : null);
  const place = html("div", {});
  // A gap that runs away is what the plot is for; that of a diverged run is noise of any size.
  const whole = (shown, span) => {
    const within = row => of(row).filter((_, at) => isWithin(row.curve.epoch[at], span));
    return extent(shown.filter(row => row.flag !== "diverged").flatMap(within)) || extent(shown.flatMap(within));
  };
  const draw = span => {
    const f = curvesChart(of, words.gap, whole, false, span);
    if (f) zoomable(f, draw);
    place.replaceChildren(...(f ? [f.root, flagLegend()] : []));
    return f;
  };
  return card(words.gaps, draw(null) && place, false, words.zoom_hint);
}

// Each metric beside the losses, over epochs.
function scores() {
  return data.metrics.map(name => {
    const of = row => row.curve.scores[name] || [];
    const f = curvesChart(of, name, shown => extent(shown.flatMap(of)));
    const value = base && base.scores[name]?.[0];
    if (f && isNumber(value)) f.area.append(svg("line", { class: "baseline", x1: f.left, x2: f.right, y1: f.Y(value), y2: f.Y(value) }));
    return card(`${name}: ${words.all_runs}`, f && html("div", {}, f.root, flagLegend()));
  });
}

// The values of a parameter as at most `most` columns: its own values, or steps between its ends.
function bins(at, most) {
  const values = [...new Set(runs.map(row => row.value[at]).filter(isNumber))].sort((a, b) => a - b);
  if (values.length <= most) return values.map(value => ({ has: x => x === value, label: plain(value) }));
  const isLog = data.parameters[at].log, low = values[0], high = values[values.length - 1];
  const edge = n => isLog ? low * (high / low) ** (n / most) : low + (high - low) * n / most;
  return Array.from({ length: most }, (_, n) => ({
    has: x => x >= edge(n) && (x < edge(n + 1) || (n === most - 1 && x <= high)), label: plain(+edge(n + 0.5).toPrecision(2)) }));
}
// A colour from yellow for the lowest loss to violet; the root spreads those close to it.
const goodness = (value, range) => shade(1 - Math.sqrt(Math.max(0, value - range[0]) / (range[1] - range[0] || 1)));
function heatmap() {
  const index = name => data.parameters.findIndex(p => p.name === name);
  const numeric = data.parameters.map((p, at) => [p, at]).filter(([p]) => p.numeric).map(([, at]) => at);
  let x = index("learning_rate"), y = index("rank");
  if (x < 0) x = numeric.find(at => at !== y) ?? -1;
  if (y < 0) y = numeric.find(at => at !== x) ?? -1;
  if (x < 0 || y < 0 || x === y) return card(words.heatmap, null, false, words.one_value);
  const columns = bins(x, 12), rows = bins(y, 10), width = 620, left = 70, cell = (width - left - 8) / columns.length;
  const height = Math.max(26, Math.min(54, 280 / rows.length)), range = lossRange(runs.map(row => row.loss));
  const root = svg("svg", { viewBox: `0 0 ${width} ${rows.length * height + 44}`, role: "img", "aria-label": words.heatmap });
  rows.slice().reverse().forEach((r, j) => {
    root.append(svg("text", { x: left - 8, y: (j + 0.5) * height + 4, "text-anchor": "end" }, r.label));
    columns.forEach((c, i) => {
      const here = runs.filter(row => c.has(row.value[x]) && r.has(row.value[y]));
      const best = here.filter(row => isNumber(row.loss)).sort((a, b) => a.loss - b.loss)[0];
      const colour = best && range ? goodness(best.loss, range) : null;
      const group = svg("g", best ? { "data-trial": best.trial, "data-tip": summary(best) } : {},
        svg("rect", { x: left + i * cell + 1, y: j * height + 1, width: cell - 2, height: height - 2, rx: 3, style: colour ? `fill:${rgb(colour)}` : "fill:var(--empty)" }));
      if (best && cell > 38) group.append(svg("text", { x: left + (i + 0.5) * cell, y: (j + 0.5) * height + 4, "text-anchor": "middle",
        style: `fill:${inkOn(colour)};font-weight:${best.trial === data.chosen ? 700 : 400}` }, best.loss < 100 ? best.loss.toFixed(3) : best.loss.toExponential(0)));
      root.append(group);
    });
  });
  columns.forEach((c, i) => root.append(svg("text", { x: left + (i + 0.5) * cell, y: rows.length * height + 16, "text-anchor": "middle" }, c.label)));
  root.append(svg("text", { x: (left + width) / 2, y: rows.length * height + 36, "text-anchor": "middle" }, data.parameters[x].name),
    svg("text", { x: 0, y: 0, transform: `translate(12 ${rows.length * height / 2}) rotate(-90)`, "text-anchor": "middle" }, data.parameters[y].name));
  const best = data.parameters[x].name !== "learning_rate" || data.parameters[y].name !== "rank";
  return card(best ? `${data.parameters[x].name} × ${data.parameters[y].name}` : words.heatmap, root);
}

function parallel() {
  const shown = runs.filter(row => isNumber(row.loss)), range = lossRange(shown.map(row => row.loss));
  if (!range || !data.parameters.length) return card(words.parallel, null, true);
  const width = 1180, height = 300, top = 34, bottom = height - 22;
  const axes = data.parameters.map((p, at) => {
    const numbers = extent(runs.map(row => row.value[at]));
    if (p.numeric && numbers) {
      const place = scale(numbers, [bottom, top], p.log), own = [...new Set(runs.map(row => row.value[at]))].filter(isNumber);
      return { name: p.name, of: row => place(row.value[at]), ticks: (own.length <= 8 ? own : place.ticks).map(v => [place(v), plain(v)]) };
    }
    const names = [...new Set(runs.map(row => row.text[at]))].sort();
    const place = name => bottom - (names.indexOf(name) + 0.5) / names.length * (bottom - top);
    return { name: p.name, of: row => place(row.text[at]), ticks: names.slice(0, 20).map(name => [place(name), name]) };
  });
  const place = scale(range, [bottom, top], false);
  axes.push({ name: words.validation_loss, of: row => Math.max(top - 8, place(row.loss)), ticks: place.ticks.map(v => [place(v), plain(v)]) });
  const x = at => 70 + at * (width - 150) / (axes.length - 1);
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": words.parallel });
  const opacity = Math.max(0.15, Math.min(0.8, 40 / shown.length));
  const worstFirst = chosenLast(shown.slice().sort((a, b) => b.loss - a.loss));
  for (const row of worstFirst) {
    const isChosen = row.trial === data.chosen;
    root.append(svg("path", { class: isChosen ? "run chosen" : "run", d: axes.map((axis, at) => `${at ? "L" : "M"}${x(at).toFixed(1)} ${axis.of(row).toFixed(1)}`).join(""),
      stroke: rgb(goodness(row.loss, range)), opacity: isChosen ? 1 : opacity, "data-trial": row.trial, "data-tip": summary(row) }));
  }
  axes.forEach((axis, at) => root.append(
    svg("line", { class: "axis", x1: x(at), x2: x(at), y1: top, y2: bottom }),
    svg("text", { class: "label", x: x(at), y: 16, "text-anchor": "middle" }, axis.name),
    ...axis.ticks.map(([y, label]) => svg("text", { x: x(at) + 6, y: y + 4, style: "paint-order:stroke;stroke:var(--card);stroke-width:3px" }, label))));
  return card(words.parallel, root, true);
}

function importanceBars() {
  if (!data.importance.length) return card(words.importance, null);
  const row = 30, root = svg("svg", { viewBox: `0 0 620 ${data.importance.length * row + 6}`, role: "img", "aria-label": words.importance });
  data.importance.forEach((item, at) => root.append(
    svg("text", { class: "label", x: 150, y: at * row + 20, "text-anchor": "end" }, item.name),
    svg("rect", { x: 160, y: at * row + 6, width: Math.max(1, 380 * item.share), height: row - 10, rx: 3, style: "fill:var(--accent)" }),
    svg("text", { x: 168 + 380 * item.share, y: at * row + 20 }, `${(100 * item.share).toFixed(0)} % ± ${(100 * item.stderr).toFixed(0)}`)));
  return card(words.importance, root, false, words.importance_hint);
}

function cost() {
  const shown = runs.filter(row => isNumber(row.loss) && row.seconds > 0);
  const xRange = extent(shown.map(row => row.seconds)), yRange = lossRange(shown.map(row => row.loss));
  if (!xRange || !yRange) return card(words.cost, null);
  const f = frame(620, 320, { range: xRange, log: xRange[1] / xRange[0] > 8, label: words.seconds }, { range: yRange, label: words.validation_loss });
  let lowest = Infinity;
  const front = shown.slice().sort((a, b) => a.seconds - b.seconds || a.loss - b.loss).filter(row => row.loss < lowest && (lowest = row.loss, true));
  f.area.append(svg("path", { class: "baseline", d: path(front.map(row => row.seconds), front.map(row => row.loss), f.X, f.Y) }));
  for (const row of chosenLast(shown)) f.area.append(svg("circle", { cx: f.X(row.seconds), cy: Math.max(f.top + 5, f.Y(row.loss)), r: row.trial === data.chosen ? 7 : 4,
    fill: flagColours[row.flag], opacity: 0.8, "data-trial": row.trial, "data-tip": summary(row) }));
  return card(words.cost, html("div", {}, f.root, flagLegend()));
}

function timeline() {
  if (!data.spans.length) return null;
  const from = data.spans.reduce((a, s) => Math.min(a, s.from_ms), Infinity), to = data.spans.reduce((a, s) => Math.max(a, s.to_ms), 0);
  const width = 620, left = 70, x = scale([0, Math.max(1e-6, (to - from) / 60000)], [left, width - 10], false);
  const devices = [...new Set(data.spans.map(span => span.device))].sort(), marks = [];
  let y = 6;
  for (const device of devices) {
    const lanes = [], start = y, own = data.spans.filter(span => span.device === device);
    const placed = own.map(span => {
      let lane = lanes.findIndex(end => end <= span.from_ms);
      if (lane < 0) lane = lanes.push(0) - 1;
      lanes[lane] = Math.max(span.to_ms, span.from_ms + 1);
      return [span, lane];
    });
    const height = Math.max(4, Math.min(14, 240 / lanes.length));
    for (const [span, lane] of placed) {
      const row = rowOf.get(span.trial), begin = x((span.from_ms - from) / 60000);
      marks.push(svg("rect", { x: begin, y: y + lane * height, width: Math.max(1.5, x((span.to_ms - from) / 60000) - begin - 1), height: height - 1, rx: 2,
        fill: flagColours[row ? row.flag : "pending"], "data-trial": span.trial, "data-tip": row ? summary(row) : pad(span.trial) }));
    }
    y += lanes.length * height + 8;
    marks.push(svg("text", { class: "label", x: left - 10, y: (start + y) / 2, "text-anchor": "end" }, device));
  }
  const root = svg("svg", { viewBox: `0 0 ${width} ${y + 34}`, role: "img", "aria-label": words.timeline },
    x.ticks.filter(tick => tick >= 0).map(tick => [svg("line", { class: "gridline", x1: x(tick), x2: x(tick), y1: 0, y2: y }),
      svg("text", { x: x(tick), y: y + 12, "text-anchor": "middle" }, plain(tick))]).flat(), marks,
    svg("text", { x: (left + width) / 2, y: y + 30, "text-anchor": "middle" }, words.minutes));
  return card(words.timeline, html("div", {}, root, flagLegend()), false, words.packed);
}

function drawSweep() {
  const plots = document.getElementById("plots");
  plots.append(...(data.metrics.length ? scores() : []));
  for (const draw of [curves, gaps, heatmap, cost, parallel, importanceBars, timeline]) plots.append(draw() || "");
}
