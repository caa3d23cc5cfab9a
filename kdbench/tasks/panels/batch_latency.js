"use strict";
/* Images per second against the batch, for teacher and student, and the parts of a call as a table. */
kdbench.panel("batch-latency", async (element, data, { el, format, plotly, theme }) => {
  const roles = ["teacher", "student"];
  const generators = data.batches.some((row) => row.steps.teacher != null);
  const bound = (x) => x == null ? null : x * 1e3;
  const milliseconds = (v) => v ? format.interval({ value: v.value * 1e3, low: bound(v.low), high: bound(v.high) }) : "";
  const parts = generators ? [["denoiser.per_step", "per step (ms)"], ["decode", "decode (ms)"]] : [];
  const heads = ["batch", "model", ...(generators ? ["NFE"] : []), "whole batch (ms)", ...parts.map(([, title]) => title), "images/s", "speed-up per image", "rounds"];
  const chart = el("div", { class: "chart", role: "img", "aria-label": "Images per second against the batch; the table below has the numbers" });
  const number = (text) => el("td", { class: "num", text });
  element.append(chart, el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Latency by batch" }, el("table", { class: "table" },
    el("thead", {}, el("tr", {}, heads.map((text, i) => el("th", { scope: "col", class: i > 1 ? "num" : "", text })))),
    el("tbody", {}, data.batches.flatMap((row) => roles.map((role) => el("tr", {},
      el("th", { scope: "row", text: `${row.batch[role]}${row.best ? " (best)" : ""}` }), el("td", { text: role }),
      generators ? number(row.steps[role] ?? "") : [], number(milliseconds(row.latency[role])), parts.map(([key]) => number(milliseconds(row[key][role]))),
      number(row.images_per_second[role] ? format.interval(row.images_per_second[role]) : ""),
      number(role === "student" && row.speedup ? format.interval(row.speedup) : ""), number(row.n))))))));
  const Plotly = await plotly();
  const colours = theme();
  const traces = roles.map((role) => {
    const own = [...data.batches].sort((a, b) => a.batch[role] - b.batch[role]);
    return { name: role, mode: "lines+markers", line: { width: 1.5, color: colours[role] }, marker: { size: 7 },
      x: own.map((row) => row.batch[role]), y: own.map((row) => row.images_per_second[role].value) };
  });
  const axis = (title) => ({ title: { text: title }, type: "log", gridcolor: colours.line, zeroline: false });
  await Plotly.newPlot(chart, traces, {
    margin: { l: 60, r: 12, t: 8, b: 44 }, height: 280, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: colours.text, size: 12 },
    xaxis: axis("images at a time"), yaxis: axis("images per second"), legend: { orientation: "h", y: 1.15 },
  }, { displaylogo: false, displayModeBar: false, responsive: true });
});
