"use strict";
/* What papers claim: their own numbers, as they state them, beside measured ones of the same protocol. */
(() => {
  const { el, format, name } = kdbench;
  const PAGE = 50;
  const FACETS = [["family", "Family"], ["metric", "Metric"], ["quantity", "Kind of number"]];
  let rows, measured, parts;

  const BOUNDS = { "at least": "≥ ", "at most": "≤ ", about: "≈ ", "up to": "up to " };

  /** A number in the paper's own words: bound, value, unit, and what kind of number it is. */
  const stated = (i) => `${BOUNDS[rows.get("bound", i)] ?? ""}${rows.get("stated_value", i)}${rows.get("stated_unit", i) ? ` ${rows.get("stated_unit", i)}` : ""}`;

  const search = (title) => `https://scholar.google.com/scholar?q=${encodeURIComponent(`"${title}"`)}`;

  kdbench.paperLink = (title) => el("a", { href: search(title), rel: "noopener noreferrer", target: "_blank" }, name(title));

  /** Measured values of the same task, metric and protocol; only scores are set beside them. */
  function beside(i) {
    if (rows.get("quantity", i) !== "score") return [];
    return measured.get(JSON.stringify([rows.get("task", i), rows.get("metric", i), rows.get("protocol", i)])) ?? [];
  }

  async function measuredValues() {
    const found = new Map();
    if (kdbench.site.empty) return found;
    const data = await kdbench.load("data/values.js");
    for (const measure of data.measures)
      measure.value.forEach((value, p) => {
        const protocol = measure.protocol.values[measure.protocol.codes[p]];
        if (value == null || protocol == null) return;
        const key = JSON.stringify([measure.task, measure.metric, protocol]);
        found.set(key, [...(found.get(key) ?? []), { pair: data.pairs[p], value, low: measure.low[p], high: measure.high[p], unit: measure.unit }]);
      });
    return found;
  }

  function matching(state) {
    const words = (state.q ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    const found = [];
    for (let i = 0; i < rows.n; i++) {
      if (FACETS.some(([key]) => state[key] && rows.get(key, i) !== state[key])) continue;
      if (state.paper && rows.get("paper", i) !== state.paper) continue;
      if (words.length) {
        const text = ["source", "method", "model", "task", "metric", "dataset", "quote", "hardware"].map((key) => rows.get(key, i) ?? "").join(" ").toLowerCase();
        if (!words.every((word) => text.includes(word))) continue;
      }
      found.push(i);
    }
    return found;
  }

  function line(i) {
    const found = beside(i);
    const value = rows.get("value", i);
    return el("tr", { "data-row": String(i) },
      el("th", { scope: "row", class: "paper" }, el("span", { class: "diamond", "aria-hidden": "true" }), el("span", { class: "visually-hidden", text: "published: " }), kdbench.paperLink(rows.get("source", i)),
        el("details", { class: "small" }, el("summary", { class: "muted", text: "quote" }), el("q", {}, name(rows.get("quote", i))))),
      el("td", {}, name(rows.get("model", i))),
      el("td", {}, name(rows.get("task", i)), el("div", { class: "range-text" }, [rows.get("dataset", i), rows.get("steps", i) != null && `${rows.get("steps", i)} ${rows.get("steps", i) === 1 ? "step" : "steps"}`, rows.get("params", i), rows.get("hardware", i)].filter(Boolean).map((text, k) => [k ? ", " : "", name(text)]))),
      el("td", {}, name(rows.get("stated_metric", i))),
      el("td", { class: "num" }, stated(i), el("div", { class: "range-text", text: rows.get("quantity", i) === "score" ? "" : rows.get("quantity", i) })),
      el("td", {}, rows.get("baseline", i) && [name(rows.get("baseline", i)), rows.get("baseline_value", i) != null && el("span", { class: "num", text: `: ${rows.get("baseline_value", i)}` })]),
      el("td", { class: "num" }, found.map((other) => el("div", {}, el("a", { href: kdbench.href("pair", other.pair), text: format.interval(other, other.unit) }), value != null && el("div", { class: "range-text", text: `measured − published: ${format.number(other.value - value, other.unit)}` })))));
  }

  function draw(route) {
    const { state } = route;
    const found = matching(state);
    for (const [key] of FACETS) parts[key].lastChild.value = state[key] ?? "";
    if (document.activeElement !== parts.q.lastChild) parts.q.lastChild.value = state.q ?? "";
    const shown = Math.min(found.length, Number(state.rows) || PAGE);
    parts.body.replaceChildren(...found.slice(0, shown).map(line));
    parts.count.textContent = `${found.length} of ${rows.n} published numbers`;
    parts.more.replaceChildren(...(shown < found.length ? [el("button", { type: "button", text: `Show ${Math.min(PAGE, found.length - shown)} more`, onclick: () => kdbench.setState({ rows: String(shown + PAGE) }) })] : []));
  }

  kdbench.page("published", {
    title: "Published",
    update: draw,
    async render(holder, route) {
      rows = kdbench.frame((await kdbench.load("data/published.js")).rows);
      measured = await measuredValues();
      let timer;
      const facet = (key, label) => el("label", { class: "field" }, el("span", { text: label }), el("select", { onchange: (event) => kdbench.setState({ [key]: event.target.value, rows: null }) },
        el("option", { value: "", text: "all" }), [...new Set(Array.from({ length: rows.n }, (_, i) => rows.get(key, i)))].sort().map((text) => el("option", { value: text, text }))));
      parts = {
        q: el("label", { class: "field" }, el("span", { text: "Search" }), el("input", { type: "search", placeholder: "paper, model, data set", oninput: (event) => {
          clearTimeout(timer);
          timer = setTimeout(() => kdbench.setState({ q: event.target.value.trim(), rows: null }), 60);
        } })),
        ...Object.fromEntries(FACETS.map(([key, label]) => [key, facet(key, label)])),
        count: el("p", { class: "muted small", role: "status" }), body: el("tbody"), more: el("div", { class: "chips more" }),
      };
      kdbench.add(holder, el("h1", { text: "Published numbers" }),
        el("p", { class: "muted" }, el("span", { class: "diamond", "aria-hidden": "true" }), "Claims of papers, in their own words. None of them was measured here. Gains, ratios and bounds stay what they are; only a score with the very protocol of a measured row stands beside it. ",
          el("a", { href: kdbench.href("coverage"), text: "What could be measured today" }), "."),
        el("div", { class: "toolbar" }, parts.q, FACETS.map(([key]) => parts[key]), el("a", { class: "push", href: "published.csv", download: "published.csv", text: "published.csv" })),
        parts.count,
        el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Published numbers" }, el("table", { class: "table published" },
          el("thead", {}, el("tr", {}, ["paper", "model", "task", "metric", "published", "baseline", "measured"].map((text, i) => el("th", { scope: "col", class: i === 4 || i === 6 ? "num" : "", text })))), parts.body)),
        parts.more);
      draw(route);
    },
  });
})();
