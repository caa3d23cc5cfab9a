"use strict";
/* Latency, first token and time per token of teacher and student at each shape. */
kdbench.panel("latency-grid", (element, data, { el, format }) => {
  const shown = [["latency", "end to end"], ["ttft", "first token"], ["tpot", "per token"]];
  const milliseconds = (v) => v ? format.interval({ value: v.value * 1e3, low: v.low == null ? null : v.low * 1e3, high: v.high == null ? null : v.high * 1e3 }) : "";
  const roles = ["teacher", "student"];
  element.append(el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Latency by shape" }, el("table", { class: "table" },
    el("thead", {}, el("tr", {}, ["shape", ...shown.flatMap(([, title]) => roles.map((role) => `${title}, ${role} (ms)`)), "speed-up", "rounds"]
      .map((text, i) => el("th", { scope: "col", class: i ? "num" : "", text })))),
    el("tbody", {}, data.shapes.map((row) => el("tr", {}, el("th", { scope: "row", text: row.shape }),
      shown.flatMap(([key]) => roles.map((role) => el("td", { class: "num", text: milliseconds(row[key][role]) }))),
      el("td", { class: "num", text: format.interval(row.speedup) }), el("td", { class: "num", text: row.n })))))));
});
