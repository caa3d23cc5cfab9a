"use strict";
/* Tokens per answer: means, and how the lengths are spread. */
kdbench.panel("lengths", async (element, data, { el, measured, chart: plot, theme }) => {
  const roles = ["teacher", "student"];
  const chart = el("div", { class: "chart", role: "img", "aria-label": "Answers by number of tokens; the table has the means" });
  const lengths = new Set(roles.flatMap((role) => data[role].counts.map(([length]) => length)));
  element.append(...(lengths.size > 1 ? [chart] : []), el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Answer lengths" }, el("table", { class: "table" },
    el("thead", {}, el("tr", {}, ["", "mean tokens", "cut off at the limit", "answers"].map((text, i) => el("th", { scope: "col", class: i ? "num" : "", text })))),
    el("tbody", {}, roles.map((role) => el("tr", {}, el("th", { scope: "row", text: role }),
      el("td", { class: "num" }, measured(data[role].mean)), el("td", { class: "num" }, measured(data[role].cut)), el("td", { class: "num", text: data.n })))))));
  if (lengths.size < 2) return;
  const colours = theme();
  const traces = roles.map((role) => ({
    type: "bar", name: role, x: data[role].counts.map(([length]) => length), y: data[role].counts.map(([, count]) => count), marker: { color: colours[role] },
  }));
  await plot(chart, traces, { height: 240, barmode: "group", x: "tokens of an answer", y: "answers" });
});
