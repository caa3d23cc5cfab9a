"use strict";
/* Accuracy and tokens of teacher and student, and the ratio of tokens at equal accuracy. */
kdbench.panel("spending", (element, data, { el, format, measured }) => {
  const of = (v) => format.interval(v);
  element.append(
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Tokens and accuracy" }, el("table", { class: "table" },
      el("thead", {}, el("tr", {}, ["", "right answers", "tokens per answer", "problems"].map((text, i) => el("th", { scope: "col", class: i ? "num" : "", text })))),
      el("tbody", {}, ["teacher", "student"].map((role) => el("tr", {}, el("th", { scope: "row", text: role }),
        el("td", { class: "num" }, measured(data[role].accuracy)), el("td", { class: "num" }, measured(data[role].tokens)), el("td", { class: "num", text: data.n })))))),
    el("p", { text: data.equal.ratio
      ? `On the ${data.equal.n} problems that both solve equally often, the student spends ${of(data.equal.ratio)} times the teacher's tokens.`
      : `Only ${data.equal.n} problems are solved equally often by both, too few to compare what they spend at equal accuracy.` }));
});
