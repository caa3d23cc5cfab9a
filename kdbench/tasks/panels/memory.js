"use strict";
/* Memory of weights, cache and activations, stacked, and the peak of the process. */
kdbench.panel("memory", async (element, data, { el, format, plotly, theme }) => {
  const roles = ["teacher", "student"];
  const phases = [["peak_memory.weights", "weights"], ["peak_memory.cache", "cache"], ["peak_memory.activations", "activations"]];
  const mebi = (x) => format.number(x / 2 ** 20);
  const chart = el("div", { class: "chart", role: "img", "aria-label": "Memory by phase; the table below has the numbers" });
  element.append(chart, el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Memory by phase" }, el("table", { class: "table" },
    el("thead", {}, el("tr", {}, ["MiB", ...phases.map(([, title]) => title), "peak of the process", "loads"].map((text, i) => el("th", { scope: "col", class: i ? "num" : "", text })))),
    el("tbody", {}, roles.map((role) => el("tr", {}, el("th", { scope: "row", text: role }),
      [...phases.map(([key]) => mebi(data[role][key])), mebi(data[role].peak_memory), data.n].map((text) => el("td", { class: "num", text }))))))));
  const Plotly = await plotly();
  const colours = theme();
  const shades = [1, 0.65, 0.35];
  await Plotly.newPlot(chart, phases.map(([key, name], i) => ({
    name, type: "bar", orientation: "h", y: roles, x: roles.map((role) => data[role][key] / 2 ** 20), marker: { color: roles.map((role) => colours[role]), opacity: shades[i] },
  })), {
    barmode: "stack", margin: { l: 64, r: 12, t: 8, b: 44 }, height: 200, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: colours.text, size: 12 },
    xaxis: { title: { text: "MiB" }, gridcolor: colours.line, zeroline: false }, yaxis: { autorange: "reversed" }, legend: { orientation: "h", y: 1.2 },
  }, { displaylogo: false, displayModeBar: false, responsive: true });
});
