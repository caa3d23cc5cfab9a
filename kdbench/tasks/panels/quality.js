"use strict";
/* Scores of teacher and student against function evaluations; one metric at a time. */
kdbench.panel("quality", async (element, data, { el, format, plotly, theme }) => {
  const roles = ["teacher", "student"];
  const select = el("select", { "aria-label": "Metric" }, data.metrics.map((one, i) => el("option", { value: String(i), text: one.metric })));
  const chart = el("div", { class: "chart", role: "img", "aria-label": "Score against evaluations; the table below has the numbers" });
  const table = el("table", { class: "table" },
    el("thead", {}, el("tr", {}, ["metric", ...roles.map((role) => `${role} (${data.steps[role]} NFE)`)].map((text, i) => el("th", { scope: "col", class: i ? "num" : "", text })))),
    el("tbody", {}, data.metrics.map((one) => el("tr", {}, el("th", { scope: "row" }, el("bdi", { text: one.metric }), el("span", { class: "muted small", text: ` ${one.unit}, ${one.better} is better` })),
      roles.map((role) => el("td", { class: "num", text: format.interval(one[role]) }))))));
  element.append(el("p", {}, select), chart, el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Quality and evaluations" }, table));
  const Plotly = await plotly();
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
    const axis = (title, more) => ({ title: { text: title }, gridcolor: colours.line, zeroline: false, ...more });
    return Plotly.react(chart, traces, {
      margin: { l: 56, r: 12, t: 8, b: 44 }, height: 300, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: colours.text, size: 12 },
      xaxis: axis("function evaluations of an image (log)", { type: "log", dtick: Math.log10(2) }), yaxis: axis(one.metric.replace(/</g, "&lt;")), legend: { orientation: "h", y: 1.12 },
    }, { displaylogo: false, displayModeBar: false, responsive: true });
  };
  select.onchange = draw;
  await draw();
});
