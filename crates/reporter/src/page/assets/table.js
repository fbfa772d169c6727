// The ranking: sorted by a click on a column, filtered by words and conditions.
const view = { sort: "position", down: false, filter: "", flag: "", tied: false, trial: null, ...fromHash() };

function fromHash() {
  const found = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  return { ...(found.sort ? { sort: found.sort } : {}), down: found.down === "1", filter: found.filter || "", flag: found.flag || "",
    tied: found.tied === "1", trial: found.trial ? Number(found.trial) : null };
}
// The view lives in the address, so that it outlasts a reload and can be sent to someone.
function keep(change) {
  Object.assign(view, change);
  const shown = new URLSearchParams();
  if (view.sort !== "position") shown.set("sort", view.sort);
  for (const key of ["filter", "flag"]) if (view[key]) shown.set(key, view[key]);
  for (const key of ["down", "tied"]) if (view[key]) shown.set(key, "1");
  if (view.trial !== null) shown.set("trial", view.trial);
  history.replaceState(null, "", "#" + shown);
}

const columns = [
  { key: "position", name: words.position, of: row => row.position, show: row => row.position },
  { key: "trial", name: words.trial, of: row => row.trial, show: row => html("button", { type: "button", class: "quiet", style: "font-size:inherit;padding:0" }, pad(row.trial)) },
  { key: "flag", name: words.flag, left: true, of: row => row.flag, show: row => flagOf(row) },
  { key: "outcome", name: words.outcome, left: true, of: row => row.outcome,
    show: row => row.stopped ? html("span", { title: row.stopped }, row.outcome) : row.outcome, when: row => row.outcome === "stopped" },
  ...data.metrics.map(name => ({ key: name, name, of: row => row.scores[name]?.[0], show: row => loss(row.scores[name]?.[0]) })),
  { key: "loss", name: words.validation_loss, of: row => row.loss, show: row => loss(row.loss) },
  { key: "behind", name: words.behind, of: row => row.behind,
    show: row => isNumber(row.behind) && row.behind !== 0 ? `${signed(row.behind)} [${signed(row.behind_low)}, ${signed(row.behind_high)}]` : "–", when: row => isNumber(row.behind) },
  { key: "epoch", name: words.best_epoch, of: row => row.epoch, show: row => plain(row.epoch) },
  { key: "gap", name: words.gap, of: row => row.gap, show: row => signed(row.gap) },
  { key: "last", name: words.last, of: row => row.last, show: row => loss(row.last) },
  { key: "retention", name: words.retention_change, of: row => row.retention, show: row => signed(row.retention), when: row => isNumber(row.retention) },
  ...data.parameters.map((p, at) => ({ key: p.name, name: p.name, left: !p.numeric,
    of: row => p.numeric ? row.value[at] : row.text[at], show: row => row.text[at] ?? "–" })),
  { key: "seconds", name: words.seconds, of: row => row.seconds, show: row => plain(row.seconds) },
].filter(column => !column.when || data.rows.some(column.when));

// What a filter can name: every column by its key, its heading and the names that other tools have for
// it, notes, and the parameters that all runs share.
const aliases = { loss: ["eval_loss", "validation_loss", "val_loss", "best"], last: ["last_eval_loss"], epoch: ["best_epoch"],
  trial: ["run", "id"], position: ["rank_position", "#"], seconds: ["time"], retention: ["retention_change"] };
const written = name => name.toLowerCase().replaceAll(/[\s-]+/g, "_");
const filterable = [
  ...columns.map(c => ({ of: c.of, names: [c.key, c.name, ...(aliases[c.key] || [])] })),
  ...data.parameters.map((p, at) => ({ of: row => p.numeric ? row.value[at] : row.text[at], names: [p.name, ...p.names] })),
  ...Object.entries(data.fixed).map(([name, value]) => ({ of: row => row.trial === 0 ? null : Number.isFinite(Number(value)) ? Number(value) : value,
    names: [name, ...(data.names[name] || [])] })),
  { of: row => row.notes.length ? row.notes : null, names: ["notes", "note"] },
  { of: row => row.outcome, names: ["outcome", "status"] },
  { of: row => row.steps, names: ["steps", "step"] },
  { of: row => row.tokens, names: ["tokens"] },
].map(({ of, names }) => ({ of, names: names.map(written) }));

// `rank=8 lr<1e-3 flag=ok words`: every part must hold; words are looked for in the whole row. A part that
// is a condition on no column is kept as `unknown`.
function condition(text) {
  const unknown = [];
  const tests = text.toLowerCase().split(/\s+/).filter(Boolean).map(part => {
    const found = part.match(/^([^<>=]+)(<=|>=|=|<|>)(.+)$/), column = found && filterable.find(c => c.names.includes(written(found[1])));
    if (found && !column) unknown.push(found[1]);
    if (!column) return row => rowText(row).includes(part);
    const [, , sign, wanted] = found, number = Number(wanted);
    return row => {
      const value = column.of(row);
      if (value === null || value === undefined) return false;
      if (Array.isArray(value)) return sign === "=" && value.includes(written(wanted));
      if (!isNumber(value) || !Number.isFinite(number)) return sign === "=" && String(value).toLowerCase() === wanted;
      return { "<": value < number, ">": value > number, "<=": value <= number, ">=": value >= number, "=": value === number }[sign];
    };
  });
  return { holds: row => tests.every(test => test(row)), unknown };
}
function rowText(row) {
  row.words ??= [pad(row.trial), row.flag, row.outcome, ...row.notes, ...row.text, row.explanation].join(" ").toLowerCase();
  return row.words;
}
function selected() {
  const column = columns.find(c => c.key === view.sort) || columns[0], { holds } = condition(view.filter);
  const rows = data.rows.filter(row => (!view.flag || row.flag === view.flag) && (!view.tied || row.tied) && holds(row));
  const isMissing = value => value === null || value === undefined;
  return rows.sort((a, b) => {
    const [x, y] = [column.of(a), column.of(b)];
    if (isMissing(x) || isMissing(y)) return isMissing(x) - isMissing(y) || a.position - b.position;
    const order = isNumber(x) && isNumber(y) ? x - y : String(x).localeCompare(String(y));
    return (view.down ? -order : order) || a.position - b.position;
  });
}

function drawTable() {
  const step = 50;
  let limit = step;
  const head = html("tr", {}), body = html("tbody", {}), count = html("output", {});
  const more = html("button", { class: "more", type: "button", onclick: () => { limit += 4 * step; draw(); } }, words.show_more);
  const filter = html("input", { type: "search", placeholder: words.filter, "aria-label": words.filter, value: view.filter,
    oninput: () => { limit = step; keep({ filter: filter.value }); draw(); } });
  const flags = [...new Set(data.rows.map(row => row.flag))].sort();
  const flag = html("select", { "aria-label": words.flag, onchange: () => { keep({ flag: flag.value }); draw(); } },
    html("option", { value: "" }, words.all_flags), flags.map(name => html("option", { value: name, selected: name === view.flag ? "" : null }, name)));
  const tied = html("input", { type: "checkbox", onchange: () => { keep({ tied: tied.checked }); draw(); } });
  tied.checked = view.tied;
  function draw() {
    const rows = selected();
    head.replaceChildren(...columns.map(column => html("th", { scope: "col", class: column.left ? "left" : null,
      "aria-sort": column.key !== view.sort ? "none" : view.down ? "descending" : "ascending" },
      html("button", { type: "button", "data-sort": column.key, onclick: () => {
        keep({ down: view.sort === column.key && !view.down, sort: column.key });
        draw();
        head.querySelector(`[data-sort="${column.key}"]`).focus();
      } }, column.name))));
    body.replaceChildren(...rows.slice(0, limit).map(row => html("tr", { "data-trial": row.trial,
      class: [row.tied ? "tied" : "", row.trial === data.chosen ? "chosen" : "", row.trial === 0 ? "base" : ""].join(" ").trim() || null },
      columns.map(column => html("td", { class: column.left ? "left" : null }, column.show(row))))));
    const { unknown } = condition(view.filter), none = rows.length ? "" : unknown.length ? `: ${words.no_column} ${unknown.join(", ")}` : `: ${words.none_match}`;
    count.textContent = `${rows.length} ${words.of} ${data.rows.length}${none}`;
    more.hidden = rows.length <= limit;
  }
  document.getElementById("ranking").append(html("h2", {}, words.ranking),
    html("div", { class: "controls" }, filter, flag, data.rows.some(row => row.tied) ? html("label", {}, tied, " ", words.only_tied) : null, count),
    html("div", { class: "scroll" }, html("table", {}, html("thead", {}, head), body)), more);
  draw();
}
