"use strict";
/* Tokens per answer: means, and how the lengths are spread. */
kdbench.panel("lengths", async (element, data, { el, format, plotly, theme }) => {
  const roles = ["teacher", "student"];
  const chart = el("div", { class: "chart", role: "img", "aria-label": "Answers by number of tokens; the table has the means" });
  const lengths = new Set(roles.flatMap((role) => data[role].counts.map(([length]) => length)));
  element.append(...(lengths.size > 1 ? [chart] : []), el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Answer lengths" }, el("table", { class: "table" },
    el("thead", {}, el("tr", {}, ["", "mean tokens", "cut off at the limit", "answers"].map((text, i) => el("th", { scope: "col", class: i ? "num" : "", text })))),
    el("tbody", {}, roles.map((role) => el("tr", {}, el("th", { scope: "row", text: role }),
      el("td", { class: "num", text: format.interval(data[role].mean) }), el("td", { class: "num", text: format.interval(data[role].cut) }), el("td", { class: "num", text: data.n })))))));
  if (lengths.size < 2) return;
  const Plotly = await plotly();
  const colours = theme();
  const traces = roles.map((role) => ({
    type: "bar", name: role, x: data[role].counts.map(([length]) => length), y: data[role].counts.map(([, count]) => count), marker: { color: colours[role] },
  }));
  await Plotly.newPlot(chart, traces, {
    margin: { l: 52, r: 12, t: 8, b: 44 }, height: 240, barmode: "group", paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: colours.text, size: 12 },
    xaxis: { title: { text: "tokens" }, gridcolor: colours.line }, yaxis: { title: { text: "answers" }, gridcolor: colours.line }, legend: { orientation: "h", y: 1.15 },
  }, { displaylogo: false, displayModeBar: false, responsive: true });
});
