"use strict";
/* Reliability curves of teacher and student, and their Brier scores. */
kdbench.panel("reliability", async (element, data, { el, format, measured, chart: plot, theme }) => {
  const roles = ["teacher", "student"];
  const chart = el("div", { class: "chart square", role: "img", "aria-label": "Share of right answers against probability; the table below has the numbers" });
  element.append(chart,
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Calibration" }, el("table", { class: "table" },
      el("thead", {}, el("tr", {}, ["", "Brier score (lower is better)", "probability − accuracy", "documents"].map((text, i) => el("th", { scope: "col", class: i ? "num" : "", text })))),
      el("tbody", {}, roles.map((role) => el("tr", {}, el("th", { scope: "row", text: role }),
        el("td", { class: "num" }, measured(data[role].brier)), el("td", { class: "num" }, measured(data[role].overconfidence)), el("td", { class: "num", text: data.n })))))),
    el("details", {}, el("summary", { text: "The curve as a table" }), el("table", { class: "table" },
      el("thead", {}, el("tr", {}, ["model", "probability", "accuracy", "documents"].map((text, i) => el("th", { scope: "col", class: i ? "num" : "", text })))),
      el("tbody", {}, roles.flatMap((role) => data[role].bins.map((bin) => el("tr", {}, el("td", { text: role }),
        el("td", { class: "num", text: format.number(bin.confidence) }), el("td", { class: "num" }, measured(bin.accuracy)), el("td", { class: "num", text: bin.n }))))))));
  const colours = theme();
  const traces = roles.map((role) => {
    const bins = data[role].bins;
    return {
      name: role, x: bins.map((bin) => bin.confidence), y: bins.map((bin) => bin.accuracy.value), mode: "lines+markers",
      line: { color: colours[role], width: 1.5 }, marker: { size: 6 },
      error_y: { type: "data", symmetric: false, thickness: 1, width: 0, array: bins.map((bin) => bin.accuracy.high - bin.accuracy.value), arrayminus: bins.map((bin) => bin.accuracy.value - bin.accuracy.low) },
    };
  });
  await plot(chart, traces, {
    height: 340, x: { title: "probability of the choice", range: [0, 1.02] }, y: { title: "share that is right", range: [0, 1.02] },
    shapes: [{ type: "line", x0: 0, y0: 0, x1: 1, y1: 1, line: { color: colours.muted, width: 1, dash: "dot" } }],
  });
});
