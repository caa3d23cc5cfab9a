"use strict";
/* Frechet distances against 1/N with their lines, extrapolated to 1/N = 0. */
kdbench.panel("infinity", async (element, data, { el, format, measured, chart: plot, theme }) => {
  const roles = ["teacher", "student"];
  const chart = el("div", { class: "chart", role: "img", "aria-label": "Distance against one over the number of images; the table below has the numbers" });
  element.append(chart, el("table", { class: "table" },
    el("thead", {}, el("tr", {}, ["", "at N → ∞", "slope (per 1/N)", "at all images", "images"].map((text, i) => el("th", { scope: "col", class: i ? "num" : "", text })))),
    el("tbody", {}, roles.map((role) => el("tr", {}, el("th", { scope: "row", text: role }),
      el("td", { class: "num" }, measured(data[role].height)), el("td", { class: "num", text: format.number(data[role].slope) }),
      el("td", { class: "num", text: format.number(data[role].distances.at(-1)) }), el("td", { class: "num", text: data[role].sizes.at(-1) }))))));
  const colours = theme();
  const traces = roles.flatMap((role) => {
    const fit = data[role];
    const x = fit.sizes.map((size) => 1 / size), right = Math.max(...x);
    return [
      { name: role, x, y: fit.distances, mode: "markers", marker: { size: 6, color: colours[role] }, text: fit.sizes.map((size) => `N = ${size}`) },
      { x: [0, right], y: [fit.height.value, fit.height.value + fit.slope * right], mode: "lines", line: { width: 1.2, dash: "dot", color: colours[role] }, showlegend: false, hoverinfo: "skip" },
    ];
  });
  await plot(chart, traces, { x: { title: "1 / number of images", rangemode: "tozero" }, y: { title: `${data.metric} (${data.unit})`, rangemode: "tozero" } });
});
