"use strict";
/* First token against the requests that were answered, for teacher and student, and all of it as a table. */
kdbench.panel("serving-load", async (element, data, { el, measured, chart: plot, theme }) => {
  const roles = ["teacher", "student"];
  const times = [["ttft", "first token"], ["tpot", "per token"], ["latency", "end to end"]];
  const bound = (x) => x == null ? null : x * 1e3;
  const milliseconds = (v) => measured(v && { value: v.value * 1e3, low: bound(v.low), high: bound(v.high) });
  const heads = ["load", "model", ...times.map(([, title]) => `${title} (ms)`), "output tokens/s", "speed-up", "rounds"];
  const chart = el("div", { class: "chart", role: "img", "aria-label": "Time to the first token against answered requests per second; the table below has the numbers" });
  element.append(chart, el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Latency by load" }, el("table", { class: "table" },
    el("thead", {}, el("tr", {}, heads.map((text, i) => el("th", { scope: "col", class: i > 1 ? "num" : "", text })))),
    el("tbody", {}, data.loads.flatMap((row) => roles.map((role) => el("tr", {}, el("th", { scope: "row", text: row.load }), el("td", { text: role }),
      times.map(([key]) => el("td", { class: "num" }, milliseconds(row[key][role]))),
      el("td", { class: "num" }, measured(row.output_tokens_per_second[role])),
      el("td", { class: "num" }, role === "student" && measured(row.speedup)),
      el("td", { class: "num", text: row.n }))))))));
  const colours = theme();
  // closed loads and open ones are different questions, so no line joins them
  const kinds = [["closed", "circle", "solid"], ["open", "diamond", "dot"]].filter(([kind]) => data.loads.some((row) => row.load.startsWith(kind)));
  const traces = roles.flatMap((role) => kinds.map(([kind, symbol, dash]) => {
    const own = data.loads.filter((row) => row.ttft[role] && row.load.startsWith(kind)).sort((a, b) => a.requests_per_second[role].value - b.requests_per_second[role].value);
    return { name: kinds.length > 1 ? `${role}, ${kind}` : role, mode: "lines+markers", line: { width: 1.5, color: colours[role], dash }, marker: { size: 7, symbol },
      x: own.map((row) => row.requests_per_second[role].value), y: own.map((row) => row.ttft[role].value * 1e3), text: own.map((row) => row.load) };
  }));
  await plot(chart, traces, { x: { title: "answered requests per second", rangemode: "tozero" }, y: { title: "time to the first token (ms)", rangemode: "tozero" } });
});
