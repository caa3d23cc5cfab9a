"use strict";
/* One pair: all that was measured on teacher and student, side by side, and where it comes from. */
(() => {
  const { el, format, name } = kdbench;

  const grouped = (entries) => Map.groupBy ? Map.groupBy(entries, (entry) => entry.task) : entries.reduce((groups, entry) => groups.set(entry.task, [...(groups.get(entry.task) ?? []), entry]), new Map());

  const text = (v, unit) => (v == null ? "" : v.value == null ? v.status : format.interval(v, unit));

  /** Number, interval as text, and the interval drawn on a scale. */
  function value(v, unit, options) {
    if (v == null) return el("td", { class: "num" });
    if (v.value == null) return el("td", { class: "num muted", title: v.reason, text: v.status });
    return el("td", { class: "num measure", title: v.ci_method ? `interval: ${v.ci_method}, n = ${v.n}` : "" }, el("span", { class: "pair-of" },
      options && kdbench.intervalBar(v, options),
      el("span", {}, kdbench.measured(v, unit))));
  }

  const flips = ({ lost, gained }) =>
    lost?.value == null ? "" : `${Math.round(lost.value * lost.n)} / ${gained?.value == null ? "" : Math.round(gained.value * gained.n)}`;

  function published(claims, unit) {
    return claims.map((claim) => el("div", { class: "claim" }, el("span", { class: "diamond", "aria-hidden": "true" }), `published ${format.number(claim.value, claim.unit)}`,
      claim.difference != null && `, measured ${claim.difference < 0 ? "−" : "+"}${format.number(Math.abs(claim.difference), unit)}`, " ", el("cite", { title: claim.quote }, name(claim.source))));
  }

  /** Rows of the headlines, then those of the further metrics, folded away until they are asked for. */
  function bodies(entries, row) {
    const [first, rest] = [entries.filter((entry) => entry.first), entries.filter((entry) => !entry.first)];
    return [first.length > 0 && el("tbody", {}, first.map(row)), rest.length > 0 && el("tbody", { class: "rest" }, rest.map(row))];
  }

  const failures = (values) => [...new Set(values.filter((v) => v?.status === "failed" && v.reason).map((v) => v.reason))]
    .map((reason) => el("p", { class: "notice warning", text: reason }));

  function metricsTable(task, entries, data) {
    const any = (read) => entries.some((entry) => read(entry) != null);
    const reach = (suffix, reference) => Math.max(...entries.flatMap((entry) => {
      const v = entry.paired[suffix];
      return v?.low == null ? [0] : [Math.abs(v.low - reference), Math.abs(v.high - reference)];
    }), 1e-9);
    const around = (suffix, reference) => ({ min: reference - reach(suffix, reference), max: reference + reach(suffix, reference), reference });
    const columns = [
      ["metric", null],
      ["teacher", (entry) => value(entry.teacher, entry.unit)],
      ["student", (entry) => value(entry.student, entry.unit)],
      any((entry) => entry.paired.gap) && ["gap", (entry) => value(entry.paired.gap, entry.unit, around("gap", 0))],
      any((entry) => entry.paired.retention ?? entry.paired.ratio) && [any((entry) => entry.paired.retention) ? "retention" : "ratio",
        (entry) => (entry.paired.retention ? value(entry.paired.retention, "ratio", around("retention", 1)) : value(entry.paired.ratio, "ratio", around("ratio", 1)))],
      any((entry) => entry.paired.lost) && ["lost / gained", (entry) => el("td", { class: "num", text: flips(entry.paired) })],
      any((entry) => entry.paired.p) && ["p", (entry) => el("td", { class: "num", title: entry.paired.p?.ci_method, text: format.pvalue(entry.paired.p?.value) })],
      ["n", (entry) => el("td", { class: "num", text: entry.student?.n ?? "", title: entry.student?.n_clusters === entry.student?.n ? "" : `${entry.student?.n_clusters} clusters` })],
      any((entry) => entry.baseline) && data.baseline !== data.student && ["baseline", (entry) => value(entry.baseline, entry.unit)],
      any((entry) => entry.paired.gain_over_baseline) && ["gain", (entry) => value(entry.paired.gain_over_baseline, entry.unit)],
    ].filter(Boolean);
    return [
      failures(entries.flatMap((entry) => [entry.teacher, entry.student, ...Object.values(entry.paired)])),
      el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Metrics of ${task}` }, el("table", { class: "table" },
        el("thead", {}, el("tr", {}, columns.map(([title], i) => el("th", { scope: "col", class: i ? "num" : "", text: title })))),
        bodies(entries, (entry) => el("tr", { "data-metric": entry.metric },
          el("th", { scope: "row" }, name(entry.metric), el("div", { class: "range-text unit", text: `${entry.unit}, ${entry.better} is better` }), published(entry.published, entry.unit)),
          columns.slice(1).map(([, draw]) => draw(entry)))))),
    ];
  }

  function ownTable(entries) {
    return [failures(entries.map((entry) => entry.pair)), el("div", { class: "scroll own", tabindex: "0", role: "region", "aria-label": "Metrics of the pair" }, el("table", { class: "table" },
      el("thead", {}, el("tr", {}, ["metric", "pair", "n"].map((title, i) => el("th", { scope: "col", class: i ? "num" : "", text: title })))),
      bodies(entries, (entry) => el("tr", { "data-metric": entry.metric },
        el("th", { scope: "row" }, name(entry.metric), el("div", { class: "range-text unit", text: `${entry.unit}, ${entry.better} is better` }), published(entry.published, entry.unit)),
        value(entry.pair, entry.unit), el("td", { class: "num", text: entry.pair?.n ?? "" })))))];
  }

  // ---- further metrics: the tasks that show theirs stand in the address

  const opened = (state) => new Set((state.more ?? "").split(",").filter(Boolean));
  let folds = [];

  /** The control of a task's further metrics; nothing where all of them are headlines. */
  function more(section, task, entries) {
    const count = entries.filter((entry) => !entry.first).length;
    if (!count) return;
    const key = task.replace(/[%,]/g, encodeURIComponent); // commas stand between tasks
    const button = el("button", { type: "button", onclick: () => {
      const keys = opened(kdbench.state());
      if (!keys.delete(key)) keys.add(key);
      kdbench.setState({ more: [...keys].join(",") });
    } });
    const bodies = [...section.querySelectorAll("tbody.rest")];
    bodies.forEach((body, i) => (body.id = `more-${folds.length}-${i}`));
    button.setAttribute("aria-controls", bodies.map((body) => body.id).join(" "));
    // a table of further metrics only would be a bare head
    const bare = bodies.filter((body) => !body.previousElementSibling.matches("tbody")).map((body) => body.closest(".scroll"));
    folds.push((keys) => {
      const open = keys.has(key);
      for (const part of [...bodies, ...bare]) part.hidden = !open;
      button.setAttribute("aria-expanded", String(open));
      button.replaceChildren(open ? "Fewer metrics" : `${count} more metric${count === 1 ? "" : "s"}`, el("span", { class: "visually-hidden", text: ` of ${task}` }));
    });
    [...section.querySelectorAll(".scroll")].at(-1).after(el("p", { class: "more" }, button));
  }

  const fold = (route) => folds.forEach((set) => set(opened(route.state)));

  function protocol(protocols) {
    return el("details", { class: "small" }, el("summary", { class: "muted", text: "protocol" }),
      [...new Set(protocols)].map((line) => el("ul", { class: "protocol" }, line.split("; ").map((part) => el("li", {}, el("code", { text: part }))))));
  }

  function panelCard(panel, data) {
    const body = el("div", { class: "panel-body" }, el("p", { class: "muted", text: "…" }));
    const card = el("section", { class: "card panel", "data-panel": panel.panel, "aria-label": `${panel.title}: ${panel.task}` },
      el("h3", {}, panel.title, " ", el("span", { class: "muted small" }, name(panel.task))), el("p", { class: "muted small", text: panel.about }), body);
    const draw = async () => {
      try {
        const [content] = await Promise.all([kdbench.load(panel.data), kdbench.script(panel.script)]);
        const drawing = kdbench.panelNamed(panel.panel);
        if (!drawing) throw new Error(`${panel.script} draws no panel named “${panel.panel}”`);
        const target = el("div");
        body.replaceChildren(target); // in the page before it is drawn, so that it has a width
        await drawing(target, content, { plotly: kdbench.plotly, chart: kdbench.chart, plotText: kdbench.plotText, format, el, svg: kdbench.svg, measured: kdbench.measured, intervalBar: kdbench.intervalBar, theme: kdbench.theme, pair: data });
      } catch (error) {
        body.replaceChildren(el("p", { class: "notice warning", text: `This panel can't be drawn: ${error.message ?? error}` }));
      }
      card.dataset.drawn = "true";
    };
    new IntersectionObserver((seen, observer) => {
      if (!seen.some((entry) => entry.isIntersecting)) return;
      observer.disconnect();
      draw();
    }, { rootMargin: "400px" }).observe(card);
    card.addEventListener("kdbench:redraw", () => card.dataset.drawn && draw());
    return card;
  }

  // plots hold their colours: other colours need other plots
  window.addEventListener("kdbench:theme", () => {
    for (const card of document.querySelectorAll(".panel")) card.dispatchEvent(new Event("kdbench:redraw"));
  });

  const facts = (pairs) => el("dl", { class: "facts" }, pairs.filter(([, content]) => content != null && content !== "" && content !== false).map(([term, content]) => [el("dt", { text: term }), el("dd", {}, content)]));

  const short = (hash) => (/^[0-9a-f]{32,}$/.test(hash) ? el("code", { title: hash, text: `${hash.slice(0, 12)}…` }) : el("code", { text: hash }));

  function provenance(run, data) {
    const made = { version: run.kdbench, ...run.made_by, ...run.made_by?.git };
    const machine = run.machine ?? {};
    return el("section", { class: "card" }, el("h2", { text: "Where it comes from" }),
      facts([
        ["measured", `${run.started?.slice(0, 16).replace("T", " ")} UTC, on ${data.hardware}`],
        ["kdbench", `${made.version}${made.commit ? `, commit ${made.commit.slice(0, 10)}` : ""}${made.dirty ? " with local changes" : ""}`],
        ["machine", machine.cpu && `${machine.cpu}, ${machine.cores} cores, ${machine.memory_gib} GiB, ${machine.system ?? ""}, Python ${machine.python ?? ""}`],
        ["GPUs", machine.gpus?.length > 0 && machine.gpus.map((gpu) => gpu.name).join(", ")],
        ["packages", Object.keys(run.packages ?? {}).length > 0 && el("details", {}, el("summary", { text: `${Object.keys(run.packages).length} packages` }), Object.entries(run.packages).map(([key, version]) => `${key} ${version}`).join(", "))],
        ["seed", String(run.seed ?? "")],
        ["intervals", `${Math.round(100 * run.confidence)} %`],
        ["suite", run.git?.commit && `commit ${run.git.commit.slice(0, 10)}${run.git.dirty ? " with local changes" : ""}`],
      ]),
      Object.entries(data.models).map(([role, model]) => el("details", {}, el("summary", {}, `${role}: `, name(model.name)),
        facts([...Object.entries(model.fingerprint).map(([key, print]) => [key, short(String(print))])]))),
      el("details", {}, el("summary", { text: `cells (${run.cells.length})` }), el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Cells" }, el("table", { class: "table" },
        el("thead", {}, el("tr", {}, ["task", "subject", "key", "status", "seconds"].map((title) => el("th", { scope: "col", text: title })))),
        el("tbody", {}, run.cells.map((cell) => el("tr", {}, el("td", {}, name(cell.group ?? cell.label)), el("td", {}, name(cell.subject)), el("td", {}, el("code", { text: (cell.key ?? "").slice(0, 12) })), el("td", { text: cell.status, title: cell.reason }), el("td", { class: "num", text: Object.values(cell.seconds ?? {}).reduce((a, b) => a + b, 0).toFixed(1) }))))))),
      run.text && [
        el("h3", { text: "Run it again" }),
        el("div", { class: "with-copy" }, el("pre", { class: "command", tabindex: "0", text: run.command }), kdbench.copyButton("Copy command", run.command)),
        el("details", { open: true }, el("summary", {}, "The suite as it was run: ", el("code", { text: run.file })),
          el("div", { class: "with-copy" }, el("pre", { class: "suite", tabindex: "0", text: run.text }), kdbench.copyButton("Copy suite", run.text))),
      ]);
  }

  function tidy(data) {
    const rows = [];
    const push = (entry, role, metric, v) => v && rows.push({ task: entry.task, protocol: entry.protocol, metric, unit: entry.unit, role, value: v.value, ci_low: v.low, ci_high: v.high, ci_method: v.ci_method, n: v.n, status: v.status });
    for (const entry of data.metrics) {
      for (const role of ["teacher", "student", "baseline"]) push(entry, role, entry.metric, entry[role]);
      for (const [suffix, v] of Object.entries(entry.paired)) push(entry, "pair", `${entry.metric}.${suffix}`, v);
    }
    for (const entry of data.own) push(entry, "pair", entry.metric, entry.pair);
    const keys = ["task", "protocol", "metric", "unit", "role", "value", "ci_low", "ci_high", "ci_method", "n", "status"];
    return { columns: keys.map((key) => ({ key, title: key, numeric: ["value", "ci_low", "ci_high", "n"].includes(key) })), rows };
  }

  function size(data) {
    const [ours, theirs] = [data.models.student, data.models.teacher];
    if (ours?.parameters == null) return null;
    return `${format.count(ours.parameters)} parameters` + (theirs?.parameters ? ` against ${format.count(theirs.parameters)} (${format.ratio(theirs.parameters / ours.parameters)} smaller)` : "") + (ours.weight_bytes ? `, ${format.bytes(ours.weight_bytes)}` : "");
  }

  async function render(holder, route) {
    const data = await kdbench.load(`data/pairs/${route.param}.js`);
    const run = await kdbench.load(`data/runs/${data.run}.js`);
    // of a single sample there is nothing to look through
    const boards = new Map(data.samples.filter((board) => board.n > 1).map((board) => [`${board.task}\n${board.protocol}`, board]));
    kdbench.add(holder, 
      el("p", { class: "small" }, el("a", { href: kdbench.href("front", ""), text: "All students" })),
      el("h1", {}, name(data.student), el("span", { class: "muted", text: " of " }), name(data.teacher)),
      el("p", { class: "muted" }, [data.method, data.suite, format.date(data.created), data.hardware].filter(Boolean).map((part, i) => [i ? " · " : "", name(part)]), size(data) && ` · ${size(data)}`),
      el("div", { class: "toolbar" },
        data.badge && el("img", { src: data.badge, alt: `Badge of ${data.student}`, class: "badge-image" }),
        data.badge && kdbench.copyButton("Copy badge", () => `![${data.student.replace(/[[\]]/g, "")}](${data.badge})`),
        data.history && el("a", { href: kdbench.href("history", data.history.split("/").pop().replace(".js", "")), text: "History" }),
        el("div", { class: "push" }, kdbench.exportButtons(`kdbench-${data.id}`, () => tidy(data)))));
    folds = [];
    for (const [task, entries] of grouped([...data.metrics, ...data.own.map((entry) => ({ ...entry, isOwn: true }))])) {
      const paired = entries.filter((entry) => !entry.isOwn), own = entries.filter((entry) => entry.isOwn);
      const links = [...new Set(entries.map((entry) => entry.protocol))].map((id) => boards.get(`${task}\n${id}`)).filter(Boolean);
      const section = el("section", { class: "task", "data-task": task },
        el("h2", {}, name(task)),
        el("p", { class: "small" }, links.map((board) => el("a", { href: kdbench.href("samples", data.id, { task: board.task, ...(links.length > 1 ? { protocol: board.protocol } : {}) }), text: `Samples: where they differ (${board.n})` }))),
        paired.length > 0 && metricsTable(task, paired, data), own.length > 0 && ownTable(own), protocol(entries.map((entry) => entry.protocol)));
      more(section, task, entries);
      kdbench.add(holder, section);
    }
    fold(route);
    if (data.panels.length) kdbench.add(holder, el("div", { class: "grid2 panels" }, data.panels.map((panel) => panelCard(panel, data))));
    kdbench.add(holder, provenance(run, data));
    return `${data.student} of ${data.teacher}`;
  }

  kdbench.page("pair", { render, update: fold });
})();
