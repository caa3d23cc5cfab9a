"use strict";
/* Whole runs, prompts and time per token of teacher and student at each shape, with the speed-up of each. */
kdbench.panel("latency-grid", (element, data, { el, measured }) => {
  const shown = [["latency", "whole"], ["latency.prefill", "prompt"], ["tpot", "per token"]];
  const scaled = (v, factor) => v && { value: v.value * factor, low: v.low == null ? null : v.low * factor, high: v.high == null ? null : v.high * factor };
  const cell = (v, factor) => el("td", { class: "num" }, measured(scaled(v, factor)));
  element.append(el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Latency by shape" }, el("table", { class: "table" },
    el("thead", {}, el("tr", {}, ["shape", "time", "teacher (ms)", "student (ms)", "speed-up"].map((text, i) => el("th", { scope: "col", class: i > 1 ? "num" : "", text })))),
    el("tbody", {}, data.shapes.flatMap((row) => shown.map(([key, title], i) => el("tr", {}, el(i ? "td" : "th", i ? {} : { scope: "row", text: row.shape }),
      el("td", { text: title }), cell(row[key].teacher, 1e3), cell(row[key].student, 1e3), cell(row[key].ratio, 1))))))));
});
