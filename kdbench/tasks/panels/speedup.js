"use strict";
/* Measured and predicted speed-up against gamma. */
kdbench.panel("speedup", async (element, data, { el, format, measured, chart: plot, theme }) => {
  const colours = theme();
  const shown = (v) => (v && v.value != null ? format.interval(v) : "–");
  const head = ["gamma", "speed-up, measured", "predicted", "tau, loop", "tau, transformers", "verify / step"];
  const chart = el("div", { class: "chart", role: "img", "aria-label": "Speed-up against gamma, measured and predicted; the table below has the numbers" });
  const best = (v) => (v ? String(v.value) : "–");
  kdbench.add(element, chart,
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Speed-up by gamma" },
      el("table", { class: "table" },
        el("thead", {}, el("tr", {}, head.map((text) => el("th", { scope: "col", class: "num", text })))),
        el("tbody", {}, data.rows.map((row) => el("tr", {}, [String(row.gamma), ...["speedup", "predicted_speedup", "tau", "assisted_tau", "verify_cost"].map((key) => (row[key] ? measured(row[key]) : "–"))].map((content) => el("td", { class: "num" }, content))))))),
    el("p", { class: "muted", text: `${data.n} prompts. Draft step / target step: ${shown(data.draft_cost)}. Best gamma: ${best(data.best.measured)} measured, ${best(data.best.predicted)} predicted. The prediction leaves out what the framework itself costs.` }));
  const line = (key, name, colour, dash) => {
    const at = data.rows.filter((row) => row[key] && row[key].value != null);
    const end = (v, side) => Math.abs((v[side] ?? v.value) - v.value);
    return {
      x: at.map((row) => row.gamma), y: at.map((row) => row[key].value), name, mode: "lines+markers", line: { color: colour, dash, width: 2 }, marker: { size: 6, color: colour },
      error_y: { type: "data", symmetric: false, array: at.map((row) => end(row[key], "high")), arrayminus: at.map((row) => end(row[key], "low")), thickness: 1, width: 3 },
    };
  };
  await plot(chart, [line("speedup", "measured", colours.student, "solid"), line("predicted_speedup", "predicted", colours.teacher, "dash")], {
    x: { title: "drafts in a chain (gamma)", tickvals: data.rows.map((row) => row.gamma) }, y: "speed-up over plain writing",
    scattermode: "group", scattergap: 0.9, // intervals at one gamma stand beside each other
    shapes: [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: 1, y1: 1, line: { color: colours.muted, dash: "dot" } }],
  });
});
