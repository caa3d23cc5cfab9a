"use strict";
/* Block efficiency by gamma for all drafts of one target, then the pair's own positions and categories. */
kdbench.panel("acceptance", async (element, data, { el, measured, chart: plot, plotText, theme }) => {
  const colours = theme();
  const shown = (v) => (v && v.value != null ? measured(v) : "–");
  const table = (head, rows) => el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": head[0] },
    el("table", { class: "table" },
      el("thead", {}, el("tr", {}, head.map((text, i) => el("th", { scope: "col", class: i ? "num" : "", text })))),
      el("tbody", {}, rows.map(([name, ...cells]) => el("tr", {}, el("th", { scope: "row" }, el("bdi", { text: name })), cells.map((content) => el("td", { class: "num" }, content)))))));
  const chart = el("div", { class: "chart", role: "img", "aria-label": "Tokens per pass of the teacher against gamma; the table below has the numbers" });
  const gammas = data.gammas.map((g) => `tau, gamma ${g}`);
  kdbench.add(element, chart,
    table(["draft", "alpha", ...gammas], data.drafts.map((draft) => [draft.name, shown(draft.alpha), ...draft.tau.map(shown)])),
    el("p", { class: "muted", text: "tau counts the bonus token. The dotted line is the closed formula at alpha (iid approximation); it ignores that easy and hard tokens cluster." }),
    el("details", {}, el("summary", { text: `Acceptance by position, gamma ${data.gammas[data.gammas.length - 1]}` }),
      table(["position", "accepted at least so many", "accepted, given those before"], data.positions.map((row) => [String(row.position), shown(row.acceptance_at), shown(row.conditional_acceptance_at)]))),
    data.categories.length > 0 && el("details", { open: true }, el("summary", { text: "By category" }),
      table(["category", "prompts", "alpha", ...gammas], data.categories.map((row) => [row.category, String(row.n), shown(row.alpha), ...row.tau.map(shown)]))));
  const dashes = ["solid", "dash", "dot", "dashdot", "longdash"];
  const traces = data.drafts.map((draft, i) => {
    const at = data.gammas.map((g, j) => [g, draft.tau[j]]).filter(([, v]) => v && v.value != null);
    const colour = draft.own ? colours.student : colours.teacher;
    return {
      x: at.map(([g]) => g), y: at.map(([, v]) => v.value), name: plotText(draft.name.length > 32 ? `${draft.name.slice(0, 31)}…` : draft.name), mode: "lines+markers",
      line: { width: draft.own ? 2.5 : 1.5, color: colour, dash: dashes[i % dashes.length] }, marker: { size: draft.own ? 7 : 5, color: colour },
      error_y: { type: "data", symmetric: false, array: at.map(([, v]) => (v.high ?? v.value) - v.value), arrayminus: at.map(([, v]) => v.value - (v.low ?? v.value)), thickness: 1, width: 3 },
    };
  });
  const own = data.drafts[0];
  if (own.iid_approximation[0]) traces.push({ x: data.gammas, y: own.iid_approximation.map((v) => v && v.value), name: "iid approximation", mode: "lines", line: { width: 1, dash: "dot", color: colours.text }, hoverinfo: "skip" });
  await plot(chart, traces, { height: 320, x: { title: "drafts in a chain (gamma)", tickvals: data.gammas }, y: "tokens per pass of the teacher" });
});
