"use strict";
/* First token against the requests that were answered, for teacher and student, and all of it as a table. */
kdbench.panel("serving-load", async (element, data, { el, format, plotly, theme }) => {
  const roles = ["teacher", "student"];
  const times = [["ttft", "first token"], ["tpot", "per token"], ["latency", "end to end"]];
  const bound = (x) => x == null ? null : x * 1e3;
  const milliseconds = (v) => v ? format.interval({ value: v.value * 1e3, low: bound(v.low), high: bound(v.high) }) : "";
  const heads = ["load", "model", ...times.map(([, title]) => `${title} (ms)`), "output tokens/s", "speed-up", "rounds"];
  const chart = el("div", { class: "chart", role: "img", "aria-label": "Time to the first token against answered requests per second; the table below has the numbers" });
  element.append(chart, el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Latency by load" }, el("table", { class: "table" },
    el("thead", {}, el("tr", {}, heads.map((text, i) => el("th", { scope: "col", class: i > 1 ? "num" : "", text })))),
    el("tbody", {}, data.loads.flatMap((row) => roles.map((role) => el("tr", {}, el("th", { scope: "row", text: row.load }), el("td", { text: role }),
      times.map(([key]) => el("td", { class: "num", text: milliseconds(row[key][role]) })),
      el("td", { class: "num", text: row.output_tokens_per_second[role] ? format.interval(row.output_tokens_per_second[role]) : "" }),
      el("td", { class: "num", text: role === "student" && row.speedup ? format.interval(row.speedup) : "" }),
      el("td", { class: "num", text: row.n }))))))));
  const Plotly = await plotly();
  const colours = theme();
  const traces = roles.map((role) => {
    const own = data.loads.filter((row) => row.ttft[role]).sort((a, b) => a.requests_per_second[role].value - b.requests_per_second[role].value);
    return { name: role, mode: "lines+markers", line: { width: 1.5, color: colours[role] }, marker: { size: 7 },
      x: own.map((row) => row.requests_per_second[role].value), y: own.map((row) => row.ttft[role].value * 1e3), text: own.map((row) => row.load) };
  });
  const axis = (title) => ({ title: { text: title }, gridcolor: colours.line, zeroline: false, rangemode: "tozero" });
  await Plotly.newPlot(chart, traces, {
    margin: { l: 60, r: 12, t: 8, b: 44 }, height: 300, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: colours.text, size: 12 },
    xaxis: axis("answered requests per second"), yaxis: axis("time to the first token (ms)"), legend: { orientation: "h", y: 1.12 },
  }, { displaylogo: false, displayModeBar: false, responsive: true });
});
