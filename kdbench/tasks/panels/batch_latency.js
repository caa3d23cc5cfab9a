"use strict";
/* Images per second against the batch, for teacher and student, and the parts of a call as a table. */
kdbench.panel("batch-latency", async (element, data, { el, measured, chart: plot, theme }) => {
  const roles = ["teacher", "student"];
  const generators = data.batches.some((row) => row.steps.teacher != null);
  const bound = (x) => x == null ? null : x * 1e3;
  const milliseconds = (v) => measured(v && { value: v.value * 1e3, low: bound(v.low), high: bound(v.high) });
  const parts = [["denoiser.per_step", "per step (ms)"], ["decode", "decode (ms)"]].filter(([key]) => data.batches.some((row) => roles.some((role) => row[key][role])));
  const heads = ["batch", "model", ...(generators ? ["NFE"] : []), "whole batch (ms)", ...parts.map(([, title]) => title), "images/s", "speed-up per image", "rounds"];
  const chart = el("div", { class: "chart", role: "img", "aria-label": "Images per second against the batch; the table below has the numbers" });
  const number = (content) => el("td", { class: "num" }, content);
  element.append(chart, el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Latency by batch" }, el("table", { class: "table" },
    el("thead", {}, el("tr", {}, heads.map((text, i) => el("th", { scope: "col", class: i > 1 ? "num" : "", text })))),
    el("tbody", {}, data.batches.flatMap((row) => roles.map((role) => el("tr", {},
      el("th", { scope: "row", text: `${row.batch[role]}${row.best ? " (best)" : ""}` }), el("td", { text: role }),
      generators ? number(String(row.steps[role] ?? "")) : [], number(milliseconds(row.latency[role])), parts.map(([key]) => number(milliseconds(row[key][role]))),
      number(measured(row.images_per_second[role])),
      number(role === "student" && measured(row.speedup)), number(String(row.n)))))))));
  const colours = theme();
  const batches = [...new Set(data.batches.flatMap((row) => roles.map((role) => row.batch[role])))];
  const ends = [Math.min(...batches), Math.max(...batches)].map(Math.log10);
  const rates = data.batches.flatMap((row) => roles.map((role) => row.images_per_second[role].value));
  const ticks = [];
  for (let power = Math.floor(Math.log10(Math.min(...rates))); 10 ** power <= 2 * Math.max(...rates); power++) ticks.push(...[1, 2, 5].map((step) => step * 10 ** power));
  const traces = roles.map((role) => {
    const own = [...data.batches].sort((a, b) => a.batch[role] - b.batch[role]);
    return { name: role, mode: "lines+markers", line: { width: 1.5, color: colours[role] }, marker: { size: 7 },
      x: own.map((row) => row.batch[role]), y: own.map((row) => row.images_per_second[role].value) };
  });
  await plot(chart, traces, { height: 280, x: { title: "images at a time", type: "log", tickvals: batches, range: [ends[0] - 0.1, ends[1] + 0.1] }, y: { title: "images per second", type: "log", tickvals: ticks } });
});
