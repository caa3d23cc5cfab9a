"use strict";
/* Any number against any other: the students, their teacher, and the frontier of those that nobody beats in both. */
(() => {
  const { el, format, name } = kdbench;
  let front, values, index, parts, drawn;

  /** Indices of the points that no other beats: at least as good in both coordinates and better in one. Points: [x, y], null for unknown. */
  kdbench.frontier = (points, betterX, betterY) => {
    const sx = betterX === "lower" ? -1 : 1, sy = betterY === "lower" ? -1 : 1;
    const known = points.map(([x, y], i) => [sx * x, sy * y, i]).filter(([, , i]) => points[i][0] != null && points[i][1] != null);
    known.sort((a, b) => b[0] - a[0] || b[1] - a[1]);
    const kept = [];
    let best = -Infinity;
    for (let k = 0; k < known.length; ) {
      const [x, y] = known[k]; // the best of those that share x stands first
      for (; k < known.length && known[k][0] === x; k++) if (known[k][1] === y && y > best) kept.push(known[k][2]);
      best = Math.max(best, y);
    }
    return kept.sort((a, b) => a - b);
  };

  const COSTS = ["parameters", "weight_bytes", "steps", "memory", "speedup", "acceptance"];
  const TEACHER = { retention: 1, speedup: 1, gap: 0 };
  const METRIC = { speedup: "speedup", acceptance: "alpha", block_efficiency: "tau@5", steps: "steps", parameters: "parameters" };

  /** Something that can stand on an axis: its title and a reader of {v, teacher} for an entry. */
  function axisOf(key, family) {
    if (key.startsWith("m:")) {
      const measure = values.byKey.get(key.slice(2));
      if (!measure) return null;
      const at = (i, columns) => {
        const p = index.get(front.get("id", i));
        return p == null || columns.value[p] == null ? null : { value: columns.value[p], low: columns.low[p], high: columns.high[p] };
      };
      return {
        key, title: measure.title, unit: measure.unit, better: measure.better, metric: measure.metric,
        read: (i) => at(i, measure), teacher: (i) => at(i, measure.teachers),
        protocol: (i) => measure.protocol.values[measure.protocol.codes[index.get(front.get("id", i))]] ?? null,
      };
    }
    const column = kdbench.site.columns.find((other) => other.key === key && ["interval", "number", "count", "bytes"].includes(other.kind));
    if (!column || (column.families.length && !column.families.includes(family)) || column.away?.some((start) => family.startsWith(start))) return null;
    const first = Array.from({ length: front.n }, (_, i) => i).find((i) => front.get("family", i) === family);
    const size = values.byKey.get(key);
    return {
      key, title: column.title, unit: column.unit || (["quality", "gap", "gain"].includes(key) ? front.get("quality_unit", first) : ""), metric: METRIC[key],
      better: key === "quality" ? front.get("quality_better", first) : column.better,
      read: (i) => {
        const v = front.get(key, i);
        return v == null || typeof v === "object" ? v : { value: v, low: null, high: null };
      },
      teacher: (i) => {
        const x = key === "quality" ? front.get("teacher_quality", i) : key in TEACHER ? TEACHER[key] : size?.teachers.value[index.get(front.get("id", i))];
        return x == null ? null : { value: x, low: null, high: null };
      },
      protocol: () => null,
    };
  }

  const entriesOf = (state, family) => Array.from({ length: front.n }, (_, i) => i).filter((i) =>
    front.get("family", i) === family && (!state.teacher || front.get("teacher", i) === state.teacher) && (!state.suite || front.get("suite", i) === state.suite));

  function choices(family) {
    const rows = entriesOf({}, family);
    const own = kdbench.site.columns.filter((column) => axisOf(column.key, family) && rows.some((i) => axisOf(column.key, family).read(i))).map((column) => [column.key, column.title]);
    return [["", own], ["Per task", values.measures.filter((measure) => measure.family === family).map((measure) => [`m:${measure.key}`, measure.title])]];
  }

  const familyOf = (state) => (kdbench.site.families.some((family) => family.name === state.family) ? state.family : kdbench.site.families[0].name);

  function defaults(family) {
    const rows = entriesOf({}, family);
    const has = (key) => axisOf(key, family) && rows.some((i) => axisOf(key, family).read(i));
    const own = kdbench.site.families.find((other) => other.name === family)?.columns ?? [];
    const y = ["retention", "quality", ...own, "speedup", "block_efficiency"].find(has) ?? `m:${values.measures.find((measure) => measure.family === family)?.key}`;
    return { x: COSTS.find((key) => key !== y && has(key)) ?? (y === "retention" && has("quality") ? "quality" : y), y };
  }

  /** Points of the present state; numbers of different protocols never stand in one chart. */
  function points(state) {
    const family = familyOf(state), standard = defaults(family);
    const x = axisOf(state.x ?? standard.x, family) ?? axisOf(standard.x, family), y = axisOf(state.y ?? standard.y, family) ?? axisOf(standard.y, family);
    const all = entriesOf(state, family).map((i) => ({ i, x: x.read(i), y: y.read(i), protocol: JSON.stringify([x.protocol(i), y.protocol(i)]) }));
    const known = all.filter((point) => point.x && point.y);
    const counts = new Map();
    for (const point of known) counts.set(point.protocol, (counts.get(point.protocol) ?? 0) + 1);
    const protocols = [...counts].sort((a, b) => b[1] - a[1]).map(([id]) => id);
    const protocol = protocols[Number(state.protocol) || 0] ?? protocols[0];
    const kept = known.filter((point) => point.protocol === protocol);
    const frontier = new Set(kdbench.frontier(kept.map((point) => [point.x.value, point.y.value]), x.better, y.better));
    kept.forEach((point, k) => (point.frontier = frontier.has(k)));
    return { x, y, points: kept, unknown: all.length - known.length, protocols, other: known.length - kept.length };
  }

  const plain = kdbench.plotText;
  const short = (text) => (text.length > 60 ? `${text.slice(0, 59)}…` : text);
  const axisTitle = (axis) => `${axis.title}${axis.unit && axis.unit !== axis.title.toLowerCase() ? ` (${axis.unit})` : ""}${axis.better ? `, ${axis.better} is better` : ""}`;

  function sweeps(kept) {
    const groups = new Map();
    for (const point of kept) {
      const steps = front.get("steps", point.i);
      if (steps == null) continue;
      const key = JSON.stringify([front.get("suite", point.i), front.get("teacher", point.i), front.get("method", point.i)]);
      groups.set(key, [...(groups.get(key) ?? []), { ...point, steps }]);
    }
    return [...groups.values()].filter((group) => new Set(group.map((point) => point.steps)).size > 1).map((group) => group.sort((a, b) => a.steps - b.steps));
  }

  const sized = (text) => {
    const match = /^([\d.]+)\s*([KMBT])$/.exec(text ?? "");
    return match ? Number(match[1]) * { K: 1e3, M: 1e6, B: 1e9, T: 1e12 }[match[2]] : null;
  };

  async function publishedPoints(x, y) {
    const data = await kdbench.load("data/published.js");
    const rows = kdbench.frame(data.rows);
    const coordinate = (axis, i) =>
      rows.get("metric", i) === axis.metric && rows.get("quantity", i) !== "gain" && rows.get("quantity", i) !== "relative" ? rows.get("value", i)
        : axis.key === "steps" ? rows.get("steps", i) : axis.key === "parameters" ? sized(rows.get("params", i)) : null;
    const found = [];
    for (let i = 0; i < rows.n; i++) {
      const own = [x.metric, y.metric].includes(rows.get("metric", i));
      const at = [coordinate(x, i), coordinate(y, i)];
      if (own && at[0] != null && at[1] != null) found.push({ x: at[0], y: at[1], model: rows.get("model", i), source: rows.get("source", i) });
    }
    return found;
  }

  function bars(kept, axis) {
    const of = (point) => point[axis];
    return {
      type: "data", symmetric: false, thickness: 1, width: 0,
      array: kept.map((point) => (of(point).high == null ? 0 : of(point).high - of(point).value)),
      arrayminus: kept.map((point) => (of(point).low == null ? 0 : of(point).value - of(point).low)),
    };
  }

  async function chart(state, found) {
    const turn = (drawn = {});
    const Plotly = await kdbench.plotly();
    const colours = kdbench.theme();
    const { x, y, points: kept } = found;
    const claims = state.published === "1" ? await publishedPoints(x, y) : [];
    if (turn !== drawn || !parts.chart.isConnected) return;
    const traces = [];
    const teachers = new Map();
    for (const point of kept) {
      const [tx, ty] = [x.teacher(point.i), y.teacher(point.i)];
      if (tx && ty) teachers.set(JSON.stringify([front.get("teacher", point.i), tx.value, ty.value]), { label: front.get("teacher", point.i), x: tx, y: ty });
    }
    const steps = kept.filter((point) => point.frontier).sort((a, b) => a.x.value - b.x.value || a.y.value - b.y.value);
    if (steps.length > 1) traces.push({ name: "frontier", x: steps.map((point) => point.x.value), y: steps.map((point) => point.y.value), mode: "lines", hoverinfo: "skip", line: { color: colours.accent, width: 1.2, dash: "dot", shape: x.better === "lower" ? "hv" : "vh" } });
    for (const group of sweeps(kept)) traces.push({ name: plain(short(front.get("method", group[0].i) ?? "sweep")), x: group.map((point) => point.x.value), y: group.map((point) => point.y.value), mode: "lines", hoverinfo: "skip", showlegend: false, line: { color: colours.muted, width: 1 } });
    traces.push({
      name: "students", mode: kept.length <= 30 ? "markers+text" : "markers", textposition: "middle right", x: kept.map((point) => point.x.value), y: kept.map((point) => point.y.value),
      text: kept.map((point) => ` ${plain(short(front.get("student", point.i)))}`), customdata: kept.map((point) => front.get("id", point.i)),
      hovertext: kept.map((point) => `${plain(short(front.get("student", point.i)))} of ${plain(short(front.get("teacher", point.i)))}<br>${plain(short(front.get("method", point.i) ?? ""))}<br>${plain(x.title)} ${format.interval(point.x, x.unit)}<br>${plain(y.title)} ${format.interval(point.y, y.unit)}`),
      hoverinfo: "text", error_x: { ...bars(kept, "x"), color: colours.muted }, error_y: { ...bars(kept, "y"), color: colours.muted },
      marker: { size: 9, color: kept.map((point) => (point.frontier ? colours.accent : colours.surface)), line: { width: 1.6, color: colours.accent } },
    });
    if (teachers.size) {
      const list = [...teachers.values()];
      traces.push({ name: "teacher", mode: "markers+text", textposition: "bottom center", x: list.map((point) => point.x.value), y: list.map((point) => point.y.value), text: list.map((point) => plain(short(point.label))), hoverinfo: "text",
        hovertext: list.map((point) => `${plain(short(point.label))} (teacher)<br>${plain(x.title)} ${format.number(point.x.value, x.unit)}<br>${plain(y.title)} ${format.number(point.y.value, y.unit)}`), marker: { size: 11, symbol: "square", color: colours.teacher } });
    }
    if (claims.length) traces.push({ name: "published, not measured", mode: "markers", x: claims.map((claim) => claim.x), y: claims.map((claim) => claim.y), hoverinfo: "text",
      hovertext: claims.map((claim) => `published: ${plain(short(claim.model))}<br>${plain(short(claim.source))}`), marker: { size: 9, symbol: "diamond-open", color: colours.published } });
    const axis = (about, log) => ({ title: { text: plain(axisTitle(about)), standoff: 12 }, type: log ? "log" : "linear", gridcolor: colours.line, zeroline: false, automargin: true });
    const logs = (state.log ?? "").split(",");
    await Plotly.react(parts.chart, traces, {
      margin: { l: 64, r: 20, t: 12, b: 56 }, height: 520, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: colours.text, size: 13, family: getComputedStyle(document.body).fontFamily },
      hoverlabel: { bgcolor: colours.surface, bordercolor: colours.line, font: { color: colours.text } }, legend: { orientation: "h", y: 1.08 }, xaxis: axis(x, logs.includes("x")), yaxis: axis(y, logs.includes("y")),
    }, { displaylogo: false, responsive: true, displayModeBar: false });
    parts.chart.dataset.drawn = "true";
    if (parts.chart.dataset.clicks) return;
    parts.chart.dataset.clicks = "true";
    parts.chart.on("plotly_click", (event) => {
      const id = event.points[0]?.customdata;
      if (id) kdbench.go("pair", id);
    });
  }

  function table({ x, y, points: kept }) {
    const order = [...kept].sort((a, b) => b.frontier - a.frontier || a.x.value - b.x.value);
    parts.table.replaceChildren(
      el("thead", {}, el("tr", {}, ["student", "method", x.title, y.title, "frontier"].map((text, i) => el("th", { scope: "col", class: i === 2 || i === 3 ? "num" : "", text })))),
      el("tbody", {}, order.slice(0, 200).map((point) => el("tr", {}, el("th", { scope: "row" }, el("a", { href: kdbench.href("pair", front.get("id", point.i)) }, name(front.get("student", point.i)))), el("td", {}, name(front.get("method", point.i))),
        el("td", { class: "num", text: format.interval(point.x, x.unit) }), el("td", { class: "num", text: format.interval(point.y, y.unit) }), el("td", { text: point.frontier ? "on it" : "" })))));
  }

  function sync(state, found) {
    const family = familyOf(state);
    const options = choices(family);
    for (const [key, axis] of [["x", found.x], ["y", found.y]]) {
      const select = parts[key].lastChild;
      select.replaceChildren(...options.filter(([, list]) => list.length).map(([label, list]) => {
        const entries = list.map(([value, title]) => el("option", { value, text: title }));
        return label ? el("optgroup", { label }, entries) : entries;
      }).flat());
      select.value = axis.key;
      parts[`log-${key}`].setAttribute("aria-pressed", String((state.log ?? "").split(",").includes(key)));
    }
    for (const key of ["teacher", "suite"]) {
      const names = [...new Set(entriesOf({}, family).map((i) => front.get(key, i)))].sort();
      parts[key].hidden = names.length < 2;
      parts[key].lastChild.replaceChildren(el("option", { value: "", text: "all" }), ...names.map((text) => el("option", { value: text, text })));
      parts[key].lastChild.value = state[key] ?? "";
    }
    parts.family.lastChild.value = family;
    parts.published.setAttribute("aria-pressed", String(state.published === "1"));
    const notes = [];
    if (found.unknown) notes.push(`${found.unknown} of the students have no value on one of the axes and are left out.`);
    if (found.other) notes.push(`${found.other} were measured in other protocols, which are never compared in one chart.`);
    if (!found.points.length) notes.push("No student has a value on both axes.");
    parts.notes.textContent = notes.join(" ");
    parts.protocol.hidden = found.protocols.length < 2;
    parts.protocol.lastChild.replaceChildren(...found.protocols.map((id, k) => el("option", { value: String(k), text: short(JSON.parse(id).filter(Boolean).join(" | ")) })));
    parts.protocol.lastChild.value = state.protocol ?? "0";
  }

  async function draw(route) {
    const found = points(route.state);
    sync(route.state, found);
    table(found);
    parts.state = route.state;
    if (parts.chart.isConnected) await chart(route.state, found);
  }

  async function render(holder, route) {
    if (kdbench.site.empty) throw new Error("There are no results to draw yet.");
    front = kdbench.frame(await kdbench.load("data/front.js"));
    const data = await kdbench.load("data/values.js");
    values = { measures: data.measures, byKey: new Map(data.measures.map((measure) => [measure.key, measure])) };
    index = new Map(data.pairs.map((id, p) => [id, p]));
    const field = (label, key) => el("label", { class: "field" }, el("span", { text: label }), el("select", { "data-key": key, onchange: (event) => kdbench.setState({ [key]: event.target.value, ...(key === "family" ? { x: null, y: null, protocol: null } : {}) }) }));
    const toggle = (label, isOn, flip) => el("button", { type: "button", text: label, onclick: () => kdbench.setState(flip(parts.state)), "aria-pressed": String(isOn) });
    const log = (axis) => toggle(`log ${axis}`, false, (state) => {
      const now = (state.log ?? "").split(",").filter(Boolean);
      return { log: (now.includes(axis) ? now.filter((other) => other !== axis) : [...now, axis]).join(",") };
    });
    parts = {
      x: field("Across", "x"), y: field("Up", "y"), family: field("Family", "family"), teacher: field("Teacher", "teacher"), suite: field("Suite", "suite"), protocol: field("Protocol", "protocol"),
      "log-x": log("x"), "log-y": log("y"), published: toggle("Published numbers", false, (state) => ({ published: state.published === "1" ? null : "1" })),
      chart: el("div", { class: "pareto-chart", role: "img", "aria-label": "Students by two measures; the table below has the same points" }),
      notes: el("p", { class: "muted small", role: "status" }), table: el("table", { class: "table" }),
    };
    parts.family.lastChild.append(...kdbench.site.families.map((family) => el("option", { value: family.name, text: family.title })));
    parts.family.hidden = kdbench.site.families.length < 2;
    kdbench.add(holder, el("h1", { text: "What a student costs, and what it keeps" }),
      el("p", { class: "muted" }, "Filled points are on the frontier: no other student is at least as good in both measures and better in one. The bars are intervals. A click opens the pair."),
      el("div", { class: "toolbar" }, parts.y, parts.x, parts.family, parts.teacher, parts.suite, parts.protocol, parts["log-x"], parts["log-y"], parts.published),
      parts.notes, el("div", { class: "card" }, parts.chart), el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "The points as a table" }, parts.table));
    await draw(route);
  }

  window.addEventListener("kdbench:theme", () => parts?.chart.isConnected && chart(parts.state, points(parts.state)));
  kdbench.page("pareto", { title: "Pareto", render, update: draw, shown: (route) => chart(route.state, points(route.state)) });
})();
