"use strict";
/* Reliability curves of teacher and student, and their Brier scores. */
kdbench.panel("reliability", async (element, data, { el, format, plotly, theme }) => {
  const roles = ["teacher", "student"];
  const of = (v) => format.interval(v);
  const chart = el("div", { class: "chart square", role: "img", "aria-label": "Share of right answers against probability; the table below has the numbers" });
  element.append(chart,
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Calibration" }, el("table", { class: "table" },
      el("thead", {}, el("tr", {}, ["", "Brier score (lower is better)", "probability − accuracy", "documents"].map((text, i) => el("th", { scope: "col", class: i ? "num" : "", text })))),
      el("tbody", {}, roles.map((role) => el("tr", {}, el("th", { scope: "row", text: role }),
        el("td", { class: "num", text: of(data[role].brier) }), el("td", { class: "num", text: of(data[role].overconfidence) }), el("td", { class: "num", text: data.n })))))),
    el("details", {}, el("summary", { text: "The curve as a table" }), el("table", { class: "table" },
      el("thead", {}, el("tr", {}, ["model", "probability", "accuracy", "documents"].map((text, i) => el("th", { scope: "col", class: i ? "num" : "", text })))),
      el("tbody", {}, roles.flatMap((role) => data[role].bins.map((bin) => el("tr", {}, el("td", { text: role }),
        el("td", { class: "num", text: format.number(bin.confidence) }), el("td", { class: "num", text: of(bin.accuracy) }), el("td", { class: "num", text: bin.n }))))))));
  const Plotly = await plotly();
  const colours = theme();
  const traces = roles.map((role) => {
    const bins = data[role].bins;
    return {
      name: role, x: bins.map((bin) => bin.confidence), y: bins.map((bin) => bin.accuracy.value), mode: "lines+markers",
      line: { color: colours[role], width: 1.5 }, marker: { size: 6 },
      error_y: { type: "data", symmetric: false, thickness: 1, width: 0, array: bins.map((bin) => bin.accuracy.high - bin.accuracy.value), arrayminus: bins.map((bin) => bin.accuracy.value - bin.accuracy.low) },
    };
  });
  const axis = (title) => ({ title: { text: title }, range: [0, 1.02], gridcolor: colours.line, zeroline: false });
  await Plotly.newPlot(chart, traces, {
    margin: { l: 52, r: 12, t: 8, b: 44 }, height: 340, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: colours.text, size: 12 },
    xaxis: axis("probability of the choice"), yaxis: axis("share that is right"), legend: { orientation: "h", y: 1.08 },
    shapes: [{ type: "line", x0: 0, y0: 0, x1: 1, y1: 1, line: { color: colours.muted, width: 1, dash: "dot" } }],
  }, { displaylogo: false, displayModeBar: false, responsive: true });
});
