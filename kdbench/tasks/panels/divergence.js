"use strict";
/* KL of teacher and student by the position of the token in its text. */
kdbench.panel("divergence", async (element, data, { el, format, plotly, theme }) => {
  const points = data.points;
  const chart = el("div", { class: "chart", role: "img", "aria-label": "KL against position; the table below has the numbers" });
  const table = (rows) => el("table", { class: "table" },
    el("thead", {}, el("tr", {}, ["token", "KL (nats)", "documents"].map((text) => el("th", { scope: "col", class: "num", text })))),
    el("tbody", {}, rows.map((point) => el("tr", {}, el("td", { class: "num", text: point.position }),
      el("td", { class: "num", text: format.interval(point.kl) }), el("td", { class: "num", text: point.n })))));
  const few = [...new Set([0, 0.25, 0.5, 0.75, 1].map((share) => Math.round(share * (points.length - 1))))].map((i) => points[i]);
  kdbench.add(element, chart, table(few), few.length < points.length && el("details", {}, el("summary", { text: "The curve as a table" }), table(points)));
  const Plotly = await plotly();
  const colours = theme();
  const x = points.map((point) => point.position);
  const line = (key, more) => ({ x, y: points.map((point) => point.kl[key]), mode: "lines", line: { width: 0, color: colours.student }, hoverinfo: "skip", showlegend: false, ...more });
  const axis = (title) => ({ title: { text: title }, gridcolor: colours.line, zeroline: false, rangemode: "tozero" });
  await Plotly.newPlot(chart, [
    line("low"), line("high", { fill: "tonexty" }),
    line("value", { mode: "lines+markers", line: { width: 1.5, color: colours.student }, marker: { size: 5 }, hoverinfo: "all" }),
  ], {
    margin: { l: 52, r: 12, t: 8, b: 44 }, height: 300, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: colours.text, size: 12 },
    xaxis: axis("scored token of the text"), yaxis: axis("KL(teacher || student), nats"),
  }, { displaylogo: false, displayModeBar: false, responsive: true });
});
