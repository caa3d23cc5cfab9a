"use strict";
/* How to read the site, what it was built from, and how to cite it. */
(() => {
  const { el, format, name } = kdbench;

  function bibtex(site) {
    const [year, month] = site.built.split("-");
    return `@software{kdbench${year},\n  title   = {kdbench: benchmark and evaluation harness for distilled models},\n  version = {${site.kdbench}},\n  year    = {${year}},\n  month   = {${Number(month)}},\n  url     = {https://github.com/kdbench/kdbench},\n  note    = {Leaderboard built ${site.built.slice(0, 10)} from ${site.runs.map((run) => `${run.suite.replace(/[{}\\\\]/g, "")} of ${run.started.slice(0, 10)}`).join(", ") || "no runs"}}\n}\n`;
  }

  kdbench.page("about", {
    title: "About",
    render(holder) {
      const { site } = kdbench;
      const section = (title, ...content) => el("section", {}, el("h2", { text: title }), content);
      kdbench.add(holder, el("h1", { text: "How to read this" }),
        section("A row is a pair", el("p", { text: "A student and the teacher that it was distilled from, measured on the same documents with the same prompts and seeds. Every difference is paired, document by document." })),
        section("Intervals", el("p", { text: "Every number stands with its interval; how it was made is in the tip of the number on the pair's page. Wilson for shares, Tango and score intervals for paired differences and retention, Fieller and cluster-robust forms where documents share a prompt or passage." })),
        section("Ranks", el("p", { text: site.rule })),
        section("Protocols", el("p", { text: "The protocol says in which dialect a number was made: harness, recipe, shots, limits. Numbers of different protocols are never compared; charts show one at a time." })),
        section("Status", el("p", { text: "ok: every task was measured. partial: some failed, and no mean is taken over the rest. failed: none could be measured. The reasons are on the pair's page." })),
        section("Published numbers", el("p", {}, "Hollow diamonds are claims of papers, never measurements. ", el("a", { href: kdbench.href("published"), text: "All of them" }), ", and ", el("a", { href: kdbench.href("coverage"), text: "what could be measured today" }), ".")),
        site.notices.length > 0 && section("Notes on these results", el("ul", {}, site.notices.map((notice) => el("li", {}, name(notice.text))))),
        section("Runs", el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Runs" }, el("table", { class: "table" },
          el("thead", {}, el("tr", {}, ["suite", "results", "measured", "hardware", "kdbench", "rows"].map((text, i) => el("th", { scope: "col", class: i === 5 ? "num" : "", text })))),
          el("tbody", {}, site.runs.map((run) => el("tr", {}, el("th", { scope: "row" }, name(run.suite)), el("td", {}, name(run.label)), el("td", { text: format.date(run.started) }), el("td", {}, name(run.hardware)), el("td", { text: `${run.kdbench}${run.commit ? ` (${run.commit.slice(0, 8)})` : ""}` }), el("td", { class: "num", text: run.rows }))))))),
        section("Take it with you", el("p", { class: "chips" }, ["metrics.csv", "metrics.json", "published.csv"].map((file) => el("a", { href: file, download: file, text: file })))),
        section("Cite", el("div", { class: "with-copy" }, el("pre", { class: "cite", tabindex: "0", text: bibtex(site) }), kdbench.copyButton("Copy BibTeX", () => bibtex(site)))),
        el("p", { class: "muted small", text: `Built ${site.built.replace("T", " ").slice(0, 16)} UTC by kdbench ${site.kdbench}: ${site.n_pairs} pairs, ${site.n_rows} rows.` }));
    },
    update() {},
  });
})();
