"use strict";
/* KL of teacher and student by the position of the token in its text. */
kdbench.panel("divergence", async (element, data, { el, measured, chart: plot, theme }) => {
  const points = data.points;
  const chart = el("div", { class: "chart", role: "img", "aria-label": "KL against position; the table below has the numbers" });
  const table = (rows) => el("table", { class: "table" },
    el("thead", {}, el("tr", {}, ["token", "KL (nats)", "documents"].map((text) => el("th", { scope: "col", class: "num", text })))),
    el("tbody", {}, rows.map((point) => el("tr", {}, el("td", { class: "num", text: point.position }),
      el("td", { class: "num" }, measured(point.kl)), el("td", { class: "num", text: point.n })))));
  const few = [...new Set([0, 0.25, 0.5, 0.75, 1].map((share) => Math.round(share * (points.length - 1))))].map((i) => points[i]);
  kdbench.add(element, chart, table(few), few.length < points.length && el("details", {}, el("summary", { text: "The curve as a table" }), table(points)));
  const colours = theme();
  const x = points.map((point) => point.position);
  const line = (key, more) => ({ x, y: points.map((point) => point.kl[key]), mode: "lines", line: { width: 0, color: colours.student }, hoverinfo: "skip", showlegend: false, ...more });
  await plot(chart, [
    line("low"), line("high", { fill: "tonexty" }),
    line("value", { mode: "lines+markers", line: { width: 1.5, color: colours.student }, marker: { size: 5 }, hoverinfo: "all" }),
  ], { x: { title: "scored token of the text", range: [0.5, x.at(-1) + 0.5], ...(x.at(-1) <= 10 ? { dtick: 1 } : {}) }, y: { title: "KL(teacher || student), nats", rangemode: "tozero" } });
});
