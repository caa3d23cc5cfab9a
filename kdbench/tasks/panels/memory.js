"use strict";
/* Memory of weights, cache and activations, stacked, and the peak of the process. */
kdbench.panel("memory", async (element, data, { el, format, chart: plot, theme }) => {
  const roles = ["teacher", "student"];
  const phases = [["peak_memory.weights", "weights"], ["peak_memory.cache", "cache"], ["peak_memory.activations", "activations"]];
  const mebi = (x) => format.number(x / 2 ** 20);
  const chart = el("div", { class: "chart", role: "img", "aria-label": "Memory by phase; the table below has the numbers" });
  element.append(chart, el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Memory by phase" }, el("table", { class: "table" },
    el("thead", {}, el("tr", {}, ["MiB", ...phases.map(([, title]) => title), "peak of the process", "loads"].map((text, i) => el("th", { scope: "col", class: i ? "num" : "", text })))),
    el("tbody", {}, roles.map((role) => el("tr", {}, el("th", { scope: "row", text: role }),
      [...phases.map(([key]) => mebi(data[role][key])), mebi(data[role].peak_memory), data.n].map((text) => el("td", { class: "num", text }))))))));
  const colours = theme();
  const shades = [1, 0.65, 0.35];
  await plot(chart, phases.map(([key, name], i) => ({
    name, type: "bar", orientation: "h", y: roles, x: roles.map((role) => data[role][key] / 2 ** 20), marker: { color: colours.student }, opacity: shades[i],
  })), { barmode: "stack", height: 240, x: "MiB", y: { title: "", autorange: "reversed", ticklabelstandoff: 6 }, legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", traceorder: "normal" } });
});
