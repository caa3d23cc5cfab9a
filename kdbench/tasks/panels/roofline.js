"use strict";
/* Achieved FLOP/s against FLOP per byte, under the measured peak and bandwidth. */
kdbench.panel("roofline", async (element, data, { el, format, chart: plot, theme }) => {
  const { flops, bandwidth } = data.ceilings;
  const chart = el("div", { class: "chart", role: "img", "aria-label": "Achieved FLOP per second against FLOP per byte; the table below has the numbers" });
  const giga = (x) => format.number(x / 1e9);
  element.append(chart,
    el("p", { class: "muted small", text: `Measured ceilings: ${giga(flops)} GFLOP/s (a multiply-add is two), ${giga(bandwidth)} GB/s read and written.` }),
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Roofline" }, el("table", { class: "table" },
      el("thead", {}, el("tr", {}, ["shape", "model", "phase", "FLOP/byte", "GFLOP/s", "measured (ms)", "bound (ms)"].map((text, i) => el("th", { scope: "col", class: i > 2 ? "num" : "", text })))),
      el("tbody", {}, data.points.map((p) => el("tr", {}, el("th", { scope: "row", text: p.shape }), el("td", { text: p.role }), el("td", { text: p.phase }),
        [format.number(p.intensity), giga(p.achieved), format.number(p.seconds * 1e3), format.number(p.bound * 1e3)].map((text) => el("td", { class: "num", text }))))))));
  const colours = theme();
  const ridge = flops / bandwidth;
  const xs = data.points.map((p) => p.intensity);
  const left = Math.min(ridge, ...xs) / 3;
  const right = Math.max(ridge, ...xs) * 3;
  const traces = ["teacher", "student"].flatMap((role) => [["prefill", "circle"], ["decode", "diamond"]].map(([phase, symbol]) => {
    const own = data.points.filter((p) => p.role === role && p.phase === phase);
    return { name: `${role}, ${phase}`, x: own.map((p) => p.intensity), y: own.map((p) => p.achieved), text: own.map((p) => p.shape), mode: "markers", marker: { color: colours[role], symbol, size: 8 } };
  }));
  await plot(chart, [
    { name: "measured ceilings", x: [left, ridge, right], y: [left * bandwidth, flops, flops], mode: "lines", line: { color: colours.muted, width: 1.5 } }, ...traces,
  ], { height: 320, x: { title: "FLOP per byte that must move", type: "log" }, y: { title: "FLOP/s", type: "log", exponentformat: "SI" } });
});
