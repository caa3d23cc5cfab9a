"use strict";
/* Several runs of one suite: each metric as a line over time, with what changed between the runs. */
(() => {
  const { el, svg, format, name } = kdbench;
  const W = 360, H = 150, LEFT = 48, RIGHT = 12, TOP = 12, BOTTOM = 24;
  let data, parts;

  const titleOf = (series) => `${series.task} · ${series.metric}`;
  const lineName = (series) => (series.role === "teacher" ? `${series.model} (teacher)` : series.pair || series.model);

  function groups(state) {
    const found = new Map();
    for (const series of data.series) {
      if (series.unit === "p-value") continue; // a test's result is no quantity that has a trend
      if (state.metric && series.metric !== state.metric) continue;
      if (state.model && series.model !== state.model) continue;
      found.set(titleOf(series), [...(found.get(titleOf(series)) ?? []), series]);
    }
    return found;
  }

  function drawing(lines) {
    const numbers = lines.flatMap((series) => [...series.value, ...series.low, ...series.high]).filter((x) => x != null);
    let [low, high] = [Math.min(...numbers), Math.max(...numbers)];
    if (low === high) [low, high] = [low - 0.5, high + 0.5];
    const n = data.runs.length;
    const x = (k) => LEFT + (n === 1 ? 0.5 : k / (n - 1)) * (W - LEFT - RIGHT);
    const y = (value) => TOP + (1 - (value - low) / (high - low)) * (H - TOP - BOTTOM);
    const picture = svg("svg", { viewBox: `0 0 ${W} ${H}`, class: "trend", "aria-hidden": "true" });
    for (const value of [low, (low + high) / 2, high]) picture.append(svg("line", { class: "grid", x1: LEFT, x2: W - RIGHT, y1: y(value), y2: y(value) }), svg("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end", text: format.number(value) }));
    data.runs.forEach((run, k) => {
      if (run.changes.length) picture.append(svg("line", { class: "change", x1: x(k), x2: x(k), y1: TOP, y2: H - BOTTOM }, svg("title", { text: run.changes.join("\n") })));
      if (k === 0 || k === n - 1) picture.append(svg("text", { x: x(k), y: H - 6, "text-anchor": k ? "end" : "start", text: format.date(run.started) }));
    });
    lines.forEach((series, number) => {
      const group = svg("g", { class: `series ${series.role}`, style: `opacity:${1 - 0.5 * (number / lines.length)}` });
      let previous = null;
      series.value.forEach((value, k) => {
        if (value == null) return;
        if (series.low[k] != null && series.high[k] != null) group.append(svg("line", { class: "whisker", x1: x(k), x2: x(k), y1: y(series.low[k]), y2: y(series.high[k]) }));
        // a changed protocol breaks the line: the two sides are not comparable
        if (previous != null && series.marks[k] !== "protocol") group.append(svg("line", { class: "line", x1: x(previous), x2: x(k), y1: y(series.value[previous]), y2: y(value) }));
        group.append(svg("circle", { class: series.marks[k] ? `dot ${series.marks[k]}` : "dot", cx: x(k), cy: y(value), r: series.marks[k] ? 4.5 : 3 }, svg("title", { text: `${lineName(series)}: ${format.interval({ value, low: series.low[k], high: series.high[k] })}${series.marks[k] ? ` (${series.marks[k]})` : ""}` })));
        previous = k;
      });
      if (previous != null && lines.length <= 6) group.append(svg("text", { class: "who", x: x(previous) - 6, y: y(series.value[previous]) - 7, "text-anchor": "end", text: lineName(series).slice(0, 24) }));
      picture.append(group);
    });
    return picture;
  }

  function tableOf(lines) {
    return el("details", { class: "small" }, el("summary", { text: "as a table" }), el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": titleOf(lines[0]) }, el("table", { class: "table" },
      el("thead", {}, el("tr", {}, el("th", { scope: "col", text: "model" }), data.runs.map((run) => el("th", { scope: "col", class: "num", text: format.date(run.started) })))),
      el("tbody", {}, lines.map((series) => el("tr", {}, el("th", { scope: "row" }, name(lineName(series))),
        series.value.map((value, k) => el("td", { class: "num" }, format.interval({ value, low: series.low[k], high: series.high[k] }, series.unit), series.marks[k] && el("div", { class: "badge", text: series.marks[k] })))))))));
  }

  function draw(route) {
    for (const key of ["metric", "model"]) parts[key].lastChild.value = route.state[key] ?? "";
    const found = groups(route.state);
    parts.grid.replaceChildren(...[...found].map(([title, lines]) => el("section", { class: "card", "data-series": title },
      el("h2", { class: "small" }, name(title)), el("p", { class: "muted small", text: `${lines[0].unit}${lines[0].better ? `, ${lines[0].better} is better` : ""}` }), drawing(lines), tableOf(lines))));
  }

  kdbench.page("history", {
    update: draw,
    async render(holder, route) {
      data = await kdbench.load(`data/history/${route.param}.js`);
      const facet = (key, label) => el("label", { class: "field" }, el("span", { text: label }), el("select", { onchange: (event) => kdbench.setState({ [key]: event.target.value }) },
        el("option", { value: "", text: "all" }), [...new Set(data.series.map((series) => series[key]))].sort().map((text) => el("option", { value: text, text }))));
      parts = { metric: facet("metric", "Metric"), model: facet("model", "Model"), grid: el("div", { class: "trends" }) };
      kdbench.add(holder, el("h1", {}, "History of ", name(data.suite)),
        el("p", { class: "muted", text: `${data.runs.length} runs. Upright dotted lines mark runs before which something changed; large points left the interval of the run before (shift), or stand in another protocol, where the line is broken.` }),
        el("details", { class: "card" }, el("summary", { text: "What changed" }), el("ol", {}, data.runs.map((run) => el("li", {}, `${format.date(run.started)} `, name(run.label), run.changes.length > 0 && el("ul", {}, run.changes.map((change) => el("li", {}, name(change)))))))),
        el("div", { class: "toolbar" }, parts.metric, parts.model), parts.grid);
      draw(route);
      return `History of ${data.suite}`;
    },
  });
})();
