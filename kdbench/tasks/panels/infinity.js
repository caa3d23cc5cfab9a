"use strict";
/* Frechet distances against 1/N with their lines, extrapolated to 1/N = 0. */
kdbench.panel("infinity", async (element, data, { el, format, plotly, theme }) => {
  const roles = ["teacher", "student"];
  const chart = el("div", { class: "chart", role: "img", "aria-label": "Distance against one over the number of images; the table below has the numbers" });
  element.append(chart, el("table", { class: "table" },
    el("thead", {}, el("tr", {}, ["", "at N → ∞", "slope (per 1/N)", "at all images", "images"].map((text, i) => el("th", { scope: "col", class: i ? "num" : "", text })))),
    el("tbody", {}, roles.map((role) => el("tr", {}, el("th", { scope: "row", text: role }),
      el("td", { class: "num", text: format.interval(data[role].height) }), el("td", { class: "num", text: format.number(data[role].slope) }),
      el("td", { class: "num", text: format.number(data[role].distances.at(-1)) }), el("td", { class: "num", text: data[role].sizes.at(-1) }))))));
  const Plotly = await plotly();
  const colours = theme();
  const traces = roles.flatMap((role) => {
    const fit = data[role];
    const x = fit.sizes.map((size) => 1 / size), right = Math.max(...x);
    return [
      { name: role, x, y: fit.distances, mode: "markers", marker: { size: 6, color: colours[role] }, text: fit.sizes.map((size) => `N = ${size}`) },
      { x: [0, right], y: [fit.height.value, fit.height.value + fit.slope * right], mode: "lines", line: { width: 1.2, dash: "dot", color: colours[role] }, showlegend: false, hoverinfo: "skip" },
    ];
  });
  const axis = (title) => ({ title: { text: title }, gridcolor: colours.line, zeroline: false, rangemode: "tozero" });
  await Plotly.newPlot(chart, traces, {
    margin: { l: 56, r: 12, t: 8, b: 44 }, height: 300, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: colours.text, size: 12 },
    xaxis: axis("1 / number of images"), yaxis: axis(data.metric.replace(/</g, "&lt;")), legend: { orientation: "h", y: 1.12 },
  }, { displaylogo: false, displayModeBar: false, responsive: true });
});
