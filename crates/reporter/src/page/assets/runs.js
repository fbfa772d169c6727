// One run: its curves with the best point and the overfit region, and its details.
const lines = [["validation", "--validation"], ["train", "--train"], ["retention", "--retention"]];

function runChart(row, width, height, span) {
  const curve = row.curve;
  if (!curve || !curve.epoch.length) return null;
  const shown = lines.filter(([name]) => curve[name]);
  const names = shown.map(([name]) => name);
  const yRange = robustRange(curveRange(row, names, span)) || robustRange(curveRange(row, names));
  const xRange = span || extent(curve.epoch);
  if (!yRange || !xRange) return null;
  const f = frame(width, height, { range: xRange, label: words.epoch }, { range: yRange, label: words.validation_loss, log: showBase });
  f.root.setAttribute("aria-label", summary(row));
  if (row.overfit) {
    const from = f.X(row.overfit[0]);
    f.area.append(svg("rect", { class: "shade", x: from, y: f.top, width: Math.max(0, f.right - from), height: f.bottom - f.top }));
  }
  if (base && isNumber(base.loss)) f.area.append(svg("line", { class: "baseline", x1: f.left, x2: f.right, y1: f.Y(base.loss), y2: f.Y(base.loss) }));
  if (row.smooth) {
    const edge = name => row.smooth.epoch.map((x, at) => `${pixel(f.X(x))} ${pixel(f.Y(row.smooth[name][at]))}`);
    f.area.append(svg("path", { class: "band", d: `M${edge("low").concat(edge("high").reverse()).join("L")}Z` }),
      svg("path", { class: "smooth", d: path(row.smooth.epoch, row.smooth.loss, f.X, f.Y) }));
  }
  for (const [name, colour] of shown) f.area.append(
    svg("path", { d: path(curve.epoch, curve[name], f.X, f.Y), fill: "none", style: `stroke:var(${colour})`, "stroke-width": name === "validation" ? 2.2 : 1.5 }));
  if (curve.epoch.length <= 60) curve.epoch.forEach((epoch, at) => f.area.append(
    svg("circle", { class: "hover", cx: f.X(epoch), cy: f.Y(curve.validation[at]), r: 6, "data-tip":
      `${words.epoch} ${plain(epoch)}: ` + shown.map(([name]) => `${words[name]} ${loss(curve[name][at])}`).join(", ") })));
  if (isNumber(curve.best) && isNumber(curve.validation[curve.best])) f.area.append(
    svg("circle", { cx: f.X(curve.epoch[curve.best]), cy: f.Y(curve.validation[curve.best]), r: 4.5, style: "fill:var(--validation);stroke:var(--card)", "stroke-width": 1.5 }));
  return f;
}
// One run's plot that can be zoomed.
function zoomedRun(row, width, height) {
  const place = html("div", {});
  const draw = span => {
    const f = runChart(row, width, height, span);
    if (f) zoomable(f, draw);
    place.replaceChildren(...(f ? [f.root] : []));
  };
  draw(null);
  return place;
}
function runLegend() {
  return html("ul", { class: "legend" },
    lines.map(([name, colour]) => html("li", {}, html("i", { style: `background:var(${colour})` }), words[name])),
    html("li", {}, html("i", { class: "smooth" }), words.smooth),
    html("li", {}, html("i", { style: "background:var(--shade);height:10px" }), words.overfit_region),
    showBase ? html("li", {}, html("i", { style: "border-top:2px dashed var(--faint);height:0" }), words.base_model) : null);
}
const share = value => isNumber(value) ? `${(100 * value).toFixed(0)} %` : "–";
const flagOf = row => html("span", { class: `flag ${row.flag}` }, row.notes.includes("outside_space") ? `${row.flag}, ${words.outside}` : row.flag);

function drawRuns() {
  const section = document.getElementById("runs"), grid = html("div", { class: "small" });
  const drawn = runs.filter(row => row.curve && row.curve.epoch.length > 1);
  if (!drawn.length) { section.remove(); return; }
  const more = html("button", { class: "more", type: "button", onclick: () => add(24) }, words.show_more);
  let count = 0;
  const legend = html("div", {}, runLegend());
  const redraw = () => {
    const drawnBefore = count;
    count = 0;
    grid.replaceChildren();
    legend.replaceChildren(runLegend());
    add(drawnBefore);
  };
  function add(n) {
    for (const row of drawn.slice(count, count + n)) grid.append(
      html("article", { class: "card", "data-trial": row.trial, tabindex: 0 },
        html("h3", {}, `${words.trial} ${pad(row.trial)} `, flagOf(row)),
        html("p", { class: "note" }, data.parameters.map((p, at) => `${p.name} ${row.text[at]}`).join(", ")),
        runChart(row, 320, 200)?.root));
    count += n;
    more.hidden = count >= drawn.length;
  }
  section.append(html("h2", {}, words.runs), html("p", { class: "note" }, words.runs_hint), legend, baseSwitch(redraw), grid, more);
  add(12);
}

// What was answered to a few validation rows: an answer that is not the reference is marked, and in it the
// words that the reference does not have.
function answersOf(row) {
  const run = data.answers?.runs[row.trial];
  if (!data.answers || (row.trial !== 0 && !run)) return null;
  const find = html("input", { type: "search", placeholder: words.find_answers, "aria-label": words.find_answers, oninput: () => draw() });
  const list = html("div", {});
  const answer = (name, text, reference) => text === undefined || text === null ? null : html("div", { class: text.trim() === reference.trim() ? "answer right" : "answer" },
    html("b", {}, name), html("pre", {}, marked(text, reference)));
  function draw() {
    const wanted = find.value.toLowerCase();
    list.replaceChildren(...data.answers.questions.map((q, at) => [q, run?.best[at], run?.last?.[at]])
      .filter(([q, ...outputs]) => [q.prompt, q.reference, q.base, ...outputs].some(text => text?.toLowerCase().includes(wanted)))
      .map(([q, best, last]) => html("article", { class: "question" }, html("pre", { class: "prompt" }, q.prompt),
        answer(words.reference, q.reference, q.reference), answer(words.base_model, q.base, q.reference),
        answer(words.best_point, best, q.reference), answer(words.last_evaluation, last, q.reference))));
  }
  draw();
  return html("section", {}, html("h3", {}, words.answers), find, list);
}

function openDetail(trial) {
  const row = rowOf.get(trial), dialog = document.getElementById("detail");
  if (!row) return;
  const pair = (name, value) => html("div", {}, html("dt", {}, name), html("dd", {}, value));
  const settings = data.parameters.map((p, at) => [p.name, row.text[at]])
    .concat(row.alpha ? [["lora_alpha", row.alpha]] : [], Object.entries(row.trial === 0 ? {} : data.fixed));
  const interval = (low, high, write) => isNumber(low) ? `${write(low)} – ${write(high)}` : "–";
  dialog.replaceChildren(
    html("header", {}, html("h2", { style: "flex:1" }, `${row.trial === 0 ? "" : words.trial + " "}${pad(row.trial)} `, flagOf(row)),
      html("button", { type: "button", onclick: () => dialog.close() }, words.close)),
    zoomedRun(row, 820, 340), row.curve ? runLegend() : "",
    html("dl", { class: "pairs" },
      data.metrics.map(name => pair(name, row.scores[name] ? `${loss(row.scores[name][0])} (${interval(row.scores[name][1], row.scores[name][2], loss)})` : "–")),
      pair(words.validation_loss, loss(row.loss)), pair(words.interval, interval(row.low, row.high, loss)),
      pair(words.behind, isNumber(row.behind) ? `${signed(row.behind)} (${interval(row.behind_low, row.behind_high, signed)})` : "–"),
      pair(words.best_epoch, plain(row.epoch)), pair(words.gap, signed(row.gap)), pair(words.last, loss(row.last)),
      pair(words.overfit_probability, share(row.probability)), pair(words.shared, share(row.shared)), pair(words.shared_end, share(row.shared_end)),
      pair(words.memorizes_from, plain(row.memorizes_from)),
      pair(words.retention_change, signed(row.retention)), pair(words.seconds, plain(row.seconds)),
      pair(words.tokens, row.tokens.toLocaleString(data.lang)), pair("steps", row.total_steps ? `${row.steps} / ${row.total_steps}` : String(row.steps))),
    html("h3", {}, words.explanation), html("p", {}, row.explanation),
    row.advice ? html("p", { class: "advice" }, "→ " + row.advice) : "",
    ...(row.trial === 0 ? [] : [html("h3", {}, words.export), html("p", {}, html("code", { style: "user-select:all" },
      `lorasweep export results/${data.name} --trial ${row.trial} --to ${data.name}-${pad(row.trial)}`))]),
    answersOf(row) || "",
    settings.length ? html("h3", {}, words.settings) : "",
    html("dl", { class: "pairs" }, settings.filter(([, value]) => value !== null).map(([name, value]) => pair(name, value))));
  if (!dialog.open) dialog.showModal();
  keep({ trial });
}
