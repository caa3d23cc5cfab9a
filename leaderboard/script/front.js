"use strict";
/* The first page: one row per student and task family, ranked, with ties shown as ties. */
(() => {
  const { el, format, name } = kdbench;
  const PAGE = 60;
  const FACETS = [["teacher", "Teacher"], ["method", "Method"], ["hardware", "Hardware"], ["suite", "Suite"], ["status", "Status"]];
  const KEPT = ["rank", "student", "method", "teacher", "quality", "retention", "gap", "gain"];
  const own = (key) => !key.startsWith("m:");
  let front, values, view, parts;

  // ---- columns: those that the site declares, and one per task and metric on demand

  function columnOf(key) {
    if (own(key)) return kdbench.site.columns.find((column) => column.key === key);
    const measure = values?.byKey.get(key.slice(2));
    return measure && { key, title: measure.title, about: `${measure.metric} of ${measure.task}`, kind: "interval", unit: measure.unit, better: measure.better, families: [measure.family], measure };
  }

  const read = (column, i) => {
    if (!column.measure) return front.get(column.key, i);
    const p = values.index.get(front.get("id", i));
    const { value, low, high } = column.measure;
    return p == null || value[p] == null ? null : { value: value[p], low: low[p], high: high[p] };
  };

  const sortable = (column, i) => {
    const value = column.kind === "rank" ? front.get("rank_low", i) : read(column, i);
    return value != null && typeof value === "object" ? value.value : value;
  };

  async function withValues() {
    if (values) return;
    const data = await kdbench.load("data/values.js");
    values = {
      index: new Map(data.pairs.map((id, p) => [id, p])),
      byKey: new Map(data.measures.map((measure) => [measure.key, measure])),
      measures: data.measures,
    };
  }

  function familiesOf() {
    return kdbench.site.families.map((family) => family.name);
  }

  function hasData(column, rows) {
    return rows.some((i) => (column.kind === "rank" ? front.get("rank_low", i) : read(column, i)) != null);
  }

  function chosenColumns(state, rows) {
    if (state.cols) return state.cols.split(",").map(decodeURIComponent).map(columnOf).filter(Boolean);
    const some = (column) => hasData(column, rows);
    const declared = kdbench.site.columns.filter((column) => applies(column, state) && some(column));
    // what is kept is said by the gap where no metric of the family has a retention
    const kept = declared.some((column) => column.key === "retention") ? [] : ["gap"];
    const shown = declared.filter((column) => shownUnasked(column, state) || kept.includes(column.key));
    const place = shown.findIndex((column) => !KEPT.includes(column.key));
    shown.splice(place < 0 ? shown.length : place, 0, ...ownColumns(state).map(columnOf).filter((column) => column && some(column)));
    return shown;
  }

  const familyOf = (state) => (familiesOf().includes(state.family) ? state.family : familiesOf()[0]);

  /** Columns of the family's own metrics, which the site names where no other column speaks for it. */
  const ownColumns = (state) => kdbench.site.families.find((family) => family.name === familyOf(state))?.columns ?? [];

  function applies(column, state) {
    const family = familyOf(state);
    return (!column.families.length || column.families.includes(family)) && !column.away?.some((start) => family.startsWith(start));
  }

  const shownUnasked = (column, state) => column.shown && (!column.home || column.home.some((start) => familyOf(state).startsWith(start)));

  // ---- rows of the present state

  function matching(state) {
    const family = familyOf(state);
    const words = (state.q ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    const [min, max] = [state.min, state.max].map((text) => (text ? Number(text) * 1e6 : null));
    const rows = [];
    for (let i = 0; i < front.n; i++) {
      if (front.get("family", i) !== family) continue;
      if (FACETS.some(([key]) => state[key] && front.get(key, i) !== state[key])) continue;
      const size = front.get("parameters", i);
      if ((min != null && !(size >= min)) || (max != null && !(size != null && size <= max))) continue;
      if (words.length) {
        const text = ["student", "teacher", "method", "suite", "hardware"].map((key) => front.get(key, i) ?? "").join(" ").toLowerCase();
        if (!words.every((word) => text.includes(word))) continue;
      }
      rows.push(i);
    }
    return rows;
  }

  const standard = new Map(); // the order of each family, found once

  /** Best first: by rank, or where the family has none by its first number. */
  function unsorted(state) {
    const family = familyOf(state);
    if (!standard.has(family)) standard.set(family, bestFirst(state));
    return standard.get(family);
  }

  function bestFirst(state) {
    const rows = matching({ family: familyOf(state) });
    if (hasData(columnOf("rank"), rows)) return "rank";
    const numbers = [...ownColumns(state), ...kdbench.site.columns.filter((column) => column.kind === "interval" && applies(column, state)).map((column) => column.key)];
    const first = numbers.map(columnOf).find((column) => column && hasData(column, rows));
    return !first ? "rank" : first.better === "higher" ? `-${first.key}` : first.key;
  }

  const sortOf = (state) => {
    const text = state.sort ?? unsorted(state);
    return text.startsWith("-") ? { key: text.slice(1), down: true } : { key: text, down: false };
  };

  function sorted(rows, state) {
    const { key, down } = sortOf(state);
    const column = columnOf(key) ?? columnOf("rank");
    const byQuality = (a, b) => {
      const sign = front.get("quality_better", a) === "lower" ? 1 : -1;
      return sign * ((front.get("quality", a)?.value ?? -Infinity) - (front.get("quality", b)?.value ?? -Infinity)) || a - b;
    };
    if (column.kind === "rank") {
      // groups that are not ranked against each other stay apart, the largest first
      const sizes = new Map();
      for (const i of rows) sizes.set(front.get("group", i), (sizes.get(front.get("group", i)) ?? 0) + 1);
      const order = [...rows].sort((a, b) => {
        const [one, other] = [front.get("group", a), front.get("group", b)];
        return sizes.get(other) - sizes.get(one) || (one < other ? -1 : one > other ? 1 : byQuality(a, b));
      });
      return down ? order.reverse() : order;
    }
    const keyed = rows.map((i) => [sortable(column, i), i]);
    const compare = typeof keyed.find(([value]) => value != null)?.[0] === "string" ? new Intl.Collator(undefined, { numeric: true }).compare : (a, b) => a - b;
    keyed.sort(([a, i], [b, j]) => (a == null) - (b == null) || (a == null ? 0 : (down ? -1 : 1) * compare(a, b)) || i - j);
    return keyed.map(([, i]) => i);
  }

  // ---- cells

  /** Decimals and range that a whole column shares, so that its numbers line up. */
  function scaleOf(column, rows) {
    let [low, high, largest] = [Infinity, -Infinity, 0];
    for (const i of rows) {
      const v = read(column, i);
      if (v == null || typeof v === "string") continue;
      const middle = typeof v === "object" ? v.value : v;
      low = Math.min(low, v.low ?? middle);
      high = Math.max(high, v.high ?? middle);
      largest = Math.max(largest, Math.abs(middle));
    }
    const reference = column.reference ?? null;
    if (reference != null) [low, high] = [Math.min(low, reference), Math.max(high, reference)];
    const unit = column.key === "quality" && rows.length ? front.get("quality_unit", rows[0]) : column.unit;
    if (unit === "fraction" && low >= 0 && high <= 1) [low, high] = [0, 1];
    else if (unit === "ratio" && low >= 0) low = 0;
    return { min: low, max: high, reference, digits: largest >= 1000 ? 0 : largest >= 100 ? 1 : largest >= 10 ? 2 : 3 };
  }

  const figure = (x, column, scale) =>
    column.kind === "bytes" ? format.bytes(x)
      : column.kind === "count" ? format.count(x)
      : column.kind === "number" && Number.isInteger(x) ? String(x)
      : x.toFixed(scale.digits).replace(/^-/, "\u2212");

  function plain(column, i, scale) {
    if (column.kind === "rank") {
      const [low, high] = [front.get("rank_low", i), front.get("rank_high", i)];
      return low == null ? "" : low === high ? String(low) : `${low}\u2013${high}`;
    }
    const v = read(column, i);
    if (v == null) return "";
    if (column.kind === "date") return format.date(v);
    if (typeof v === "string") return v;
    if (typeof v === "number") return figure(v, column, scale);
    const middle = figure(v.value, column, scale);
    return v.low == null || v.high == null ? middle : `${middle} [${figure(v.low, column, scale)}, ${figure(v.high, column, scale)}]`;
  }

  function cell(column, i, scale) {
    if (column.key === "student") {
      const status = front.get("status", i);
      return el("th", { scope: "row", class: "student" },
        el("a", { href: kdbench.href("pair", front.get("id", i)) }, name(front.get("student", i))),
        el("div", { class: "range-text on-phones" }, name(front.get("method", i)), " of ", name(front.get("teacher", i))),
        status !== "ok" && el("span", { class: "badge bad", title: front.get("reason", i) ?? "", text: status }));
    }
    if (column.kind === "text" || column.kind === "date") return el("td", { class: `column-${column.key}` }, name(plain(column, i, scale)));
    if (column.kind === "rank") {
      const of = front.get("rank_of", i);
      return el("td", { class: "num rank" }, plain(column, i, scale), of != null && el("span", { class: "range-text", text: ` of ${of}` }));
    }
    const v = read(column, i);
    if (v == null || typeof v !== "object") return el("td", { class: "num", text: plain(column, i, scale) });
    return el("td", { class: "num measure" }, el("span", { class: "pair-of" },
      kdbench.intervalBar(v, { ...scale, width: 64 }),
      el("span", {}, figure(v.value, column, scale),
        v.low != null && v.high != null && el("span", { class: "range-text", text: ` [${figure(v.low, column, scale)}, ${figure(v.high, column, scale)}]` }))));
  }

  // ---- the page

  function heading(column, state) {
    const { key, down } = sortOf(state);
    const active = key === column.key;
    const numeric = !["text", "date"].includes(column.kind);
    const scaled = ["quality", "gap", "gain"].includes(column.key); // in the unit of the family's headlines
    const direction = scaled ? view.better : column.better;
    const best = direction === "higher" ? ", higher is better" : direction === "lower" ? ", lower is better" : "";
    const written = scaled ? view.unit : column.unit;
    const below = [
      column.measure && (column.measure.task.split("/").slice(1).join("/") || column.measure.task),
      [written && !["fraction", "ratio", "count", "bytes", "parameters"].includes(written) && written, direction === "lower" && column.kind === "interval" && "lower is better"].filter(Boolean).join(", "),
    ].filter(Boolean).map((text) => el("div", { class: "range-text", text }));
    return el("th", { scope: "col", class: numeric ? "num" : `column-${column.key}`, title: `${column.about ?? ""}${best}`, ...(active ? { "aria-sort": down ? "descending" : "ascending" } : {}) },
      el("button", {
        type: "button", "data-sort": column.key,
        onclick: () => {
          const [first, other] = direction === "higher" ? [`-${column.key}`, column.key] : [column.key, `-${column.key}`];
          const next = (state.sort ?? unsorted(state)) === first ? other : first;
          kdbench.setState({ sort: next === unsorted(state) ? null : next });
          parts.table.querySelector(`[data-sort="${CSS.escape(column.key)}"]`)?.focus();
        },
      }, column.measure?.metric ?? column.short ?? column.title), below);
  }

  function draw(state) {
    const rows = sorted(matching(state), state);
    const columns = chosenColumns(state, rows);
    const scales = new Map(columns.map((column) => [column, scaleOf(column, rows)]));
    const all = (key) => new Set(rows.filter((i) => front.get("quality", i)).map((i) => front.get(key, i)));
    const common = (key) => (all(key).size === 1 ? [...all(key)][0] : ""); // of several units none is written
    view = { rows, columns, scales, state, unit: common("quality_unit"), better: common("quality_better") };
    const shown = Math.min(rows.length, Number(state.rows) || PAGE);
    const body = el("tbody");
    let group = null;
    for (const i of rows.slice(0, shown)) {
      const own = front.get("group", i);
      const row = el("tr", { class: sortOf(state).key === "rank" && group !== null && own !== group ? "new-group" : "" }, columns.map((column) => cell(column, i, scales.get(column))));
      group = own;
      body.append(row);
    }
    parts.table.replaceChildren(
      el("caption", { class: "visually-hidden", text: `Students, ${familyOf(state)}; sorted by ${sortOf(state).key}` }),
      el("thead", {}, el("tr", {}, columns.map((column) => heading(column, state)))), body);
    const { total } = parts;
    parts.count.textContent = rows.length === total ? `${total} ${total === 1 ? "student" : "students"}` : `${rows.length} of ${total} students`;
    parts.more.replaceChildren(...(shown < rows.length ? [
      el("button", { type: "button", text: `Show ${Math.min(PAGE, rows.length - shown)} more`, onclick: () => kdbench.setState({ rows: String(shown + PAGE) }) }),
      el("button", { type: "button", text: `Show all ${rows.length}`, onclick: () => kdbench.setState({ rows: String(rows.length) }) }),
    ] : []));
    parts.none.hidden = rows.length > 0;
  }

  /** What a family's rows can be filtered by; filled once for each family. */
  function fillFacets(family) {
    if (parts.filled === family) return;
    parts.filled = family;
    const inFamily = matching({ family });
    parts.total = inFamily.length;
    parts.sized = inFamily.some((i) => front.get("parameters", i) != null);
    for (const [key] of FACETS) {
      const choices = [...new Set(inFamily.map((i) => front.get(key, i)).filter((text) => text != null))].sort();
      parts[key].dataset.choices = choices.length;
      parts[key].lastChild.replaceChildren(el("option", { value: "", text: "all" }), ...choices.map((text) => el("option", { value: text, text: text || "(none)" })));
    }
  }

  function fields(state) {
    const family = familyOf(state);
    fillFacets(family);
    for (const [key] of FACETS) {
      parts[key].hidden = parts[key].dataset.choices < 2 && !state[key];
      parts[key].lastChild.value = state[key] ?? "";
    }
    for (const key of ["min", "max"]) {
      parts[key].hidden = !parts.sized;
      if (document.activeElement !== parts[key].lastChild) parts[key].lastChild.value = state[key] ?? "";
    }
    if (document.activeElement !== parts.q.lastChild) parts.q.lastChild.value = state.q ?? "";
    for (const tab of parts.tabs.children) tab.setAttribute("aria-pressed", String(tab.dataset.family === family));
    parts.clear.hidden = !["q", "min", "max", ...FACETS.map(([key]) => key)].some((key) => state[key]);
  }

  const field = (label, control) => el("label", { class: "field" }, el("span", { text: label }), control);

  async function fillChooser(box) {
    await withValues();
    const family = familyOf(view.state);
    const entry = (key, title, about) => el("label", { title: about ?? "" }, el("input", {
      type: "checkbox", checked: view.columns.some((column) => column.key === key), "data-column": key,
      onchange: (event) => {
        const keys = view.columns.map((column) => column.key).filter((other) => other !== key);
        if (event.target.checked) keys.push(key);
        kdbench.setState({ cols: keys.map(encodeURIComponent).join(",") });
      },
    }), " ", name(title));
    const some = matching({ family });
    box.replaceChildren(
      el("button", { type: "button", text: "Reset", onclick: () => (kdbench.setState({ cols: null }), fillChooser(box)) }),
      el("fieldset", {}, el("legend", { text: "Columns" }),
        kdbench.site.columns.filter((column) => applies(column, view.state) && hasData(column, some)).map((column) => entry(column.key, column.title, column.about))),
      el("fieldset", {}, el("legend", { text: "Per task" }),
        values.measures.filter((measure) => measure.family === family).map((measure) => entry(`m:${measure.key}`, measure.title))));
  }

  function exported(form) {
    const apart = form === "csv" || form === "json";
    const columns = [], fills = [];
    for (const column of view.columns) {
      const scale = view.scales.get(column);
      if (apart && column.kind === "interval") {
        for (const part of ["value", "low", "high"]) {
          const key = part === "value" ? column.key : `${column.key}_${part}`;
          columns.push({ key, title: key });
          fills.push((i) => read(column, i)?.[part]);
        }
      } else {
        columns.push({ key: column.key, title: column.title, numeric: !["text", "date"].includes(column.kind) });
        fills.push((i) => (apart && ["number", "count", "bytes"].includes(column.kind) ? read(column, i) : plain(column, i, scale)));
      }
    }
    const rows = view.rows.map((i) => Object.fromEntries(columns.map((column, c) => [column.key, fills[c](i)])));
    return { columns, rows };
  }

  const menu = (title, content, onopen) => {
    const box = el("div", {}, content);
    const details = el("details", { class: "menu" }, el("summary", { class: "button", text: title }), box);
    details.addEventListener("toggle", () => details.open && onopen?.(box));
    details.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      details.open = false;
      details.firstChild.focus();
    });
    return details;
  };
  document.addEventListener("click", (event) => {
    for (const details of document.querySelectorAll("details.menu[open]")) if (!details.contains(event.target)) details.open = false;
  });

  function build(holder) {
    const select = (key) => el("select", { onchange: (event) => kdbench.setState({ [key]: event.target.value, rows: null }) });
    const typed = (key, props) => {
      let timer;
      return el("input", { ...props, oninput: (event) => {
        clearTimeout(timer);
        timer = setTimeout(() => kdbench.setState({ [key]: event.target.value.trim(), rows: null }), 60);
      } });
    };
    parts = {
      tabs: el("div", { class: "chips families", role: "group", "aria-label": "Task family" }, kdbench.site.families.map((family) =>
        el("button", { type: "button", "data-family": family.name, title: family.about ?? "", text: family.title, onclick: () => kdbench.setState({ family: family.name, cols: null, sort: null, rows: null }) }))),
      q: field("Search", typed("q", { type: "search", placeholder: "student, teacher, method" })),
      ...Object.fromEntries(FACETS.map(([key, label]) => [key, field(label, select(key))])),
      min: field("Min. M parameters", typed("min", { type: "number", min: "0", step: "any", class: "size" })),
      max: field("Max.", typed("max", { type: "number", min: "0", step: "any", class: "size" })),
      clear: el("button", { type: "button", class: "quiet", text: "Clear filters", onclick: () => {
        kdbench.setState(Object.fromEntries(["q", "min", "max", "rows", ...FACETS.map(([key]) => key)].map((key) => [key, null])));
        parts.q.lastChild.focus();
      } }),
      count: el("p", { class: "muted small count", role: "status" }),
      table: el("table", { class: "table front" }),
      none: el("p", { class: "notice", text: "No student matches these filters.", hidden: true }),
      more: el("div", { class: "chips more" }),
    };
    if (kdbench.site.families.length < 2) parts.tabs.hidden = true;
    const notices = kdbench.site.notices.filter((notice) => notice.level === "warning");
    kdbench.add(holder, 
      el("h1", { text: "What each student keeps of its teacher, and what it buys" }),
      el("p", { class: "muted lead" }, "One row per student, measured beside its teacher. Quality and retention are means over the family’s tasks, with their intervals; ranks that the paired data can’t tell apart are shown as a range. ",
        el("a", { href: kdbench.href("about"), text: "How to read this" }), "."),
      notices.length > 0 && el("details", { class: "notice warning" }, el("summary", { text: `${notices.length} ${notices.length === 1 ? "note" : "notes"} on these results` }), el("ul", {}, notices.map((notice) => el("li", { text: notice.text })))),
      parts.tabs,
      el("div", { class: "toolbar", role: "search" }, parts.q, FACETS.map(([key]) => parts[key]), parts.min, parts.max, parts.clear,
        el("div", { class: "push chips" },
          menu("Columns", [], fillChooser),
          menu("Download", [
            el("p", { class: "small muted", text: "This view" }), kdbench.exportButtons("kdbench-view", exported),
            el("p", { class: "small muted", text: "Every row of every run" }),
            el("div", { class: "chips" }, el("a", { href: "metrics.csv", download: "metrics.csv", text: "metrics.csv" }), el("a", { href: "metrics.json", download: "metrics.json", text: "metrics.json" })),
          ]))),
      parts.count,
      el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of students" }, parts.table),
      parts.none, parts.more);
  }

  function empty(holder) {
    kdbench.add(holder, el("h1", { text: "No results yet" }),
      el("p", { text: "Nothing was found to show. Measure a suite, then build the site again:" }),
      el("pre", { text: "kdbench run suites/quickstart.yaml\nkdbench leaderboard build results --out site" }),
      kdbench.site.notices.map((notice) => el("p", { class: "notice warning", text: notice.text })));
  }

  async function update(route) {
    if (kdbench.site.empty) return;
    const named = [route.state.cols, route.state.sort].some((text) => text?.includes("m:") || text?.includes("m%3A"));
    if (named || ownColumns(route.state).length) await withValues();
    fields(route.state);
    draw(route.state);
  }

  kdbench.page("front", {
    async render(holder, route) {
      if (kdbench.site.empty) return empty(holder);
      front = kdbench.frame(await kdbench.load("data/front.js"));
      build(holder);
      await update(route);
    },
    update,
  });
})();
