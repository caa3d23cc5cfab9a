"use strict";
/* Every paper: what its claims need, and whether kdbench measures that today. */
(() => {
  const { el, name } = kdbench;
  const WORDS = { all: "all of it", some: "some of it", none: "nothing yet" };
  let data, parts;

  function matching({ q, kind, measured }) {
    const words = (q ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    return data.papers.filter((paper) => (!kind || paper.kind === kind) && (!measured || paper.measured === measured) &&
      words.every((word) => `${paper.title} ${paper.method} ${paper.one_line} ${paper.needs.map((need) => need.text).join(" ")}`.toLowerCase().includes(word)));
  }

  const chip = (need) => el("li", { class: need.measured ? "need yes" : "need", title: need.measured ? need.tasks.join(", ") : need.why }, need.measured ? "✓ " : "○ ", name(need.text), el("span", { class: "visually-hidden", text: need.measured ? ` (measured by ${need.tasks.join(", ")})` : ` (not measured: ${need.why})` }));

  /** Tasks that a suite of one's own would name. */
  function tasksOf(paper) {
    const labels = [...new Set(paper.needs.flatMap((need) => need.tasks))].filter((label) => label.includes("/"));
    return labels.length > 0 && [el("span", { class: "range-text", text: "in a suite of your own: " }), el("code", { text: `tasks: [${labels.join(", ")}]` })];
  }

  const line = (paper) => el("tr", { "data-paper": String(paper.id) },
    el("th", { scope: "row", class: "paper" }, kdbench.paperLink(paper.title), el("div", { class: "range-text" }, name(paper.one_line))),
    el("td", {}, name(paper.method), el("div", { class: "range-text", text: paper.kind })),
    el("td", {}, el("ul", { class: "needs" }, paper.needs.map(chip))),
    el("td", { text: WORDS[paper.measured] }),
    el("td", {}, paper.suite ? [el("code", { text: `kdbench run ${paper.suite}` }), kdbench.copyButton("Copy", `kdbench run ${paper.suite}`)] : tasksOf(paper)));

  function draw(route) {
    const found = matching(route.state);
    parts.kind.lastChild.value = route.state.kind ?? "";
    parts.measured.lastChild.value = route.state.measured ?? "";
    if (document.activeElement !== parts.q.lastChild) parts.q.lastChild.value = route.state.q ?? "";
    parts.body.replaceChildren(...found.map(line));
    parts.count.textContent = `${found.length} of ${data.papers.length} papers`;
  }

  kdbench.page("coverage", {
    title: "Coverage",
    update: draw,
    async render(holder, route) {
      data = await kdbench.load("data/coverage.js");
      const total = data.papers.length || 1;
      let timer;
      const select = (key, label, options) => el("label", { class: "field" }, el("span", { text: label }), el("select", { onchange: (event) => kdbench.setState({ [key]: event.target.value }) }, el("option", { value: "", text: "all" }), options.map(([value, text]) => el("option", { value, text }))));
      parts = {
        q: el("label", { class: "field" }, el("span", { text: "Search" }), el("input", { type: "search", placeholder: "paper, method, need", oninput: (event) => {
          clearTimeout(timer);
          timer = setTimeout(() => kdbench.setState({ q: event.target.value.trim() }), 60);
        } })),
        kind: select("kind", "Kind", [...new Set(data.papers.map((paper) => paper.kind))].sort().map((kind) => [kind, kind])),
        measured: select("measured", "Measured today", Object.entries(WORDS)),
        count: el("p", { class: "muted small", role: "status" }), body: el("tbody"),
      };
      kdbench.add(holder, el("h1", { text: "What could be measured today" }),
        el("p", { class: "muted" }, "Each paper with what its claims need. Whether kdbench measures it is asked of the tasks installed when this site was built."),
        el("div", { class: "stack", role: "img", "aria-label": Object.entries(data.counts).map(([key, count]) => `${count} ${WORDS[key]}`).join(", ") },
          Object.entries(data.counts).filter(([, count]) => count).map(([key, count]) => el("span", { class: key, style: `flex:${count / total}`, text: `${count} ${WORDS[key]}` }))),
        el("div", { class: "toolbar" }, parts.q, parts.kind, parts.measured), parts.count,
        el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Papers" }, el("table", { class: "table coverage" },
          el("thead", {}, el("tr", {}, ["paper", "method", "needs", "measured", "suite to run"].map((text) => el("th", { scope: "col", text })))), parts.body)));
      draw(route);
    },
  });
})();
