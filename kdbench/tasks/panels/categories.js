"use strict";
/* Scores by category: a table with both models' intervals and the paired gap. */
kdbench.panel("categories", (element, data, { el, format, intervalBar }) => {
  for (const { tag, rows } of data.tags) {
    const ends = (role) => rows.flatMap((row) => [row[role].low, row[role].high]).filter((x) => x != null);
    const reach = Math.max(...ends("gap").map(Math.abs));
    const cell = (v, options) => el("td", { class: "num" }, options && intervalBar(v, options), " ", format.number(v.value), el("span", { class: "range-text", text: ` [${format.number(v.low)}, ${format.number(v.high)}]` }));
    element.append(el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `By ${tag}` },
      el("table", { class: "table" },
        el("thead", {}, el("tr", {}, [tag, "teacher", "student", "gap", "lost / gained", "n"].map((text, i) => el("th", { scope: "col", class: i ? "num" : "", text })))),
        el("tbody", {}, rows.map((row) => el("tr", {},
          el("th", { scope: "row" }, el("bdi", { text: row.category })),
          cell(row.teacher),
          cell(row.student),
          cell(row.gap, { min: -reach, max: reach, reference: 0 }),
          el("td", { class: "num", text: `${row.lost} / ${row.gained}` }), el("td", { class: "num", text: row.n })))))));
  }
});
