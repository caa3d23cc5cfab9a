"use strict";
/* Scores of teacher and student against function evaluations; one metric at a time. */
kdbench.panel("quality", async (element, data, { el, measured, chart: plot, theme }) => {
  const roles = ["teacher", "student"];
  const select = el("select", { "aria-label": "Metric" }, data.metrics.map((one, i) => el("option", { value: String(i), text: one.metric })));
  const chart = el("div", { class: "chart", role: "img", "aria-label": "Score against evaluations; the table below has the numbers" });
  const table = el("table", { class: "table" },
    el("thead", {}, el("tr", {}, ["metric", ...roles.map((role) => `${role} (${data.steps[role]} NFE)`)].map((text, i) => el("th", { scope: "col", class: i ? "num" : "", text })))),
    el("tbody", {}, data.metrics.map((one) => el("tr", {}, el("th", { scope: "row" }, el("bdi", { text: one.metric }), el("div", { class: "unit", text: `${one.unit}, ${one.better} is better` })),
      roles.map((role) => el("td", { class: "num" }, measured(one[role])))))));
  element.append(el("p", {}, select), chart, el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Quality and evaluations" }, table));
  const colours = theme();
  const draw = () => {
    const one = data.metrics[Number(select.value)];
    const traces = roles.map((role) => {
      const v = one[role];
      return {
        name: role, x: [data.steps[role]], y: [v.value], mode: "markers", marker: { size: 9, color: colours[role] },
        error_y: v.low == null ? undefined : { type: "data", symmetric: false, array: [v.high - v.value], arrayminus: [v.value - v.low], thickness: 1.2 },
      };
    });
    return plot(chart, traces, {
      x: { title: "network evaluations per image (NFE)", type: "log", tickvals: [...new Set(Object.values(data.steps))] }, y: `${one.metric} (${one.unit})`,
    });
  };
  select.onchange = draw;
  await draw();
});
