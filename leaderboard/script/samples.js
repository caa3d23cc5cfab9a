"use strict";
/* The documents of a pair, one by one: where teacher and student differ, and in what. */
(() => {
  const { el, format, name } = kdbench;
  const PAGE = 20;
  const LONG = 600;
  const MAX_WORDS = 400; // beyond that a word-by-word comparison costs more than it shows
  let shown = null; // {pair, board, folder, index, teacher, student, scores}
  let parts, searching = 0;

  const KINDS = [
    ["lost", "Teacher better"], ["gained", "Student better"], ["differ", "Different"],
    ["both-right", "Both right"], ["both-wrong", "Both wrong"], ["all", "All"],
  ];

  async function open(route) {
    const pair = await kdbench.load(`data/pairs/${route.param}.js`);
    if (!pair.samples.length) throw new Error("No samples of this pair are in the results.");
    const board = pair.samples.find((other) => other.task === route.state.task && (!route.state.protocol || other.protocol === route.state.protocol)) ?? pair.samples[0];
    if (shown?.pair === pair && shown.board === board) return;
    const index = await kdbench.load(board.index);
    const folder = board.index.replace(/index\.js$/, "");
    const place = (model) => index.models.findIndex((other) => other.name === model);
    const [teacher, student] = [place(pair.teacher), place(pair.student)];
    const scores = await Promise.all([teacher, student].map((m) => kdbench.load(`${folder}scores-${m}.js`)));
    shown = { pair, board, folder, index, teacher, student, scores };
  }

  const metricOf = (state) => shown.index.models[shown.teacher].metrics.find((metric) => metric.name === state.metric) ?? shown.index.models[shown.teacher].metrics[0];

  function kindOf(metric, i) {
    const [ours, theirs] = shown.scores.map((all) => all[metric.name]?.[i] ?? null);
    if (ours == null || theirs == null) return null;
    if (ours === theirs) return ours === 1 ? "both-right" : ours === 0 ? "both-wrong" : "equal";
    return (ours > theirs) === (metric.better === "higher") ? "lost" : "gained";
  }

  const fits = (kind, wanted) => wanted === "all" || kind === wanted || (wanted === "differ" && (kind === "lost" || kind === "gained"));

  const tagsOf = (state) => (state.tag ? state.tag.split("~").map((text) => text.split(/:(.*)/s)) : []);

  function tagged(i, tags) {
    return tags.every(([key, value]) => {
      const column = shown.index.tags[key];
      return column && (column.values[column.codes[i]] ?? "") === value;
    });
  }

  function counts(metric, tags) {
    const found = Object.fromEntries(KINDS.map(([kind]) => [kind, 0]));
    for (let i = 0; i < shown.index.n; i++) {
      if (!tagged(i, tags)) continue;
      const kind = kindOf(metric, i);
      for (const [wanted] of KINDS) if (fits(kind, wanted)) found[wanted]++;
    }
    return found;
  }

  function matching(state) {
    const metric = metricOf(state), tags = tagsOf(state), wanted = state.show ?? "differ";
    const found = [];
    for (let i = 0; i < shown.index.n; i++) if (tagged(i, tags) && fits(kindOf(metric, i), wanted)) found.push(i);
    return found;
  }

  // ---- one document

  async function document_(i) {
    const { chunk } = shown.index;
    const file = Math.floor(i / chunk), at = i % chunk;
    const [docs, ours, theirs] = await Promise.all([
      kdbench.load(`${shown.folder}docs-${file}.js`), kdbench.load(`${shown.folder}out-${shown.teacher}-${file}.js`), kdbench.load(`${shown.folder}out-${shown.student}-${file}.js`)]);
    const answer = (out) => ({ output: out.output[at] ?? "", details: out.details[at], image: out.image?.[at] });
    return { id: docs.id[at], prompt: docs.prompt[at], target: docs.target[at], teacher: answer(ours), student: answer(theirs) };
  }

  /** Words of `text` that are not in `target` in the same order: [[word, kept], ...] by the longest common subsequence. */
  function compared(text, target) {
    const words = text.split(/(\s+)/), wanted = target.split(/(\s+)/).filter((word) => word.trim());
    const own = words.filter((word) => word.trim());
    if (!target.trim() || own.length > MAX_WORDS || wanted.length > MAX_WORDS) return null;
    const lengths = Array.from({ length: own.length + 1 }, () => new Uint16Array(wanted.length + 1));
    for (let i = own.length - 1; i >= 0; i--)
      for (let j = wanted.length - 1; j >= 0; j--)
        lengths[i][j] = own[i] === wanted[j] ? lengths[i + 1][j + 1] + 1 : Math.max(lengths[i + 1][j], lengths[i][j + 1]);
    const kept = [];
    for (let i = 0, j = 0; i < own.length; i++) {
      while (j < wanted.length && lengths[i][j] === lengths[i][j + 1]) j++;
      const same = j < wanted.length && own[i] === wanted[j] && lengths[i][j] === lengths[i + 1][j + 1] + 1;
      kept.push(same);
      if (same) j++;
    }
    let k = 0;
    return words.map((word) => [word, word.trim() ? kept[k++] : null]);
  }
  kdbench.comparedWords = compared;

  function clamped(text) {
    if (text.length <= LONG) return el("pre", { class: "text", tabindex: "0", text });
    const block = el("pre", { class: "text", tabindex: "0", text: `… ${text.slice(-LONG)}` });
    const button = el("button", { type: "button", class: "quiet small", text: `Show all ${text.length} characters`, onclick: () => {
      block.textContent = text;
      button.remove();
    } });
    return [block, button];
  }

  function output(answer, target) {
    const text = answer.output;
    if (!text) return el("p", { class: "muted small", text: answer.details?.logprob != null ? `scored, not generated; log-probability ${format.number(answer.details.logprob)}` : "(empty)" });
    const words = compared(text, target);
    if (!words) return clamped(text);
    return el("pre", { class: "text", tabindex: "0" }, words.map(([word, same]) => (same === null ? word : same ? el("mark", { class: "same", text: word }) : el("mark", { class: "other", text: word }))));
  }

  function choices(answer) {
    const { choices: texts, logprobs, choice, gold } = answer.details ?? {};
    if (!Array.isArray(texts) || !Array.isArray(logprobs)) return null;
    const top = Math.max(...logprobs.filter((x) => x != null));
    const weights = logprobs.map((x) => (x == null ? 0 : Math.exp(x - top)));
    const total = weights.reduce((a, b) => a + b, 0);
    const right = new Set([gold].flat());
    return el("ol", { class: "choices" }, texts.map((text, c) => el("li", { class: c === choice ? "taken" : "" },
      el("span", { class: "bar", "aria-hidden": "true" }, el("i", { style: `width:${((100 * weights[c]) / total).toFixed(1)}%` })),
      el("span", { class: "num", text: format.percent(weights[c] / total, 0) }), " ", name(text.trim()),
      right.has(c) && el("span", { class: "good", text: " ✓ right" }), c === choice && el("span", { class: "muted", text: " ← taken" }))));
  }

  function answerBlock(role, model, answer, target, score, metric) {
    const verdict = score == null ? "" : score === 1 && metric.unit === "fraction" ? "✓ right" : score === 0 && metric.unit === "fraction" ? "✗ wrong" : `${metric.name} ${format.number(score)}`;
    return el("div", { class: `answer ${role}` },
      el("h3", {}, role, " ", name(model), " ", el("span", { class: verdict.startsWith("✓") ? "good" : verdict.startsWith("✗") ? "bad" : "muted", text: verdict })),
      answer.image && el("img", { src: answer.image, loading: "lazy", alt: `Image by ${model}` }),
      choices(answer) ?? (answer.image && !answer.output ? null : output(answer, target)));
  }

  async function card(i, metric) {
    const sample = await document_(i);
    const [ours, theirs] = shown.scores.map((all) => all[metric.name]?.[i] ?? null);
    const tags = Object.entries(shown.index.tags).map(([key, column]) => `${key}: ${column.values[column.codes[i]] ?? ""}`);
    return el("article", { class: "card sample", "data-document": sample.id, "aria-label": `Document ${i + 1}`, tabindex: "-1" },
      el("p", { class: "muted small" }, el("a", { href: kdbench.href("samples", shown.pair.id, { task: shown.board.task, show: "all", at: String(i) }), text: `document ${i + 1}` }), ` · ${sample.id}`, tags.map((tag) => [" · ", name(tag)])),
      sample.prompt && [el("h3", { text: "prompt" }), clamped(sample.prompt)],
      sample.target && [el("h3", { text: "target" }), clamped(sample.target)],
      el("div", { class: "answers" },
        answerBlock("teacher", shown.pair.teacher, sample.teacher, sample.target, ours, metric),
        answerBlock("student", shown.pair.student, sample.student, sample.target, theirs, metric)));
  }

  // ---- the page

  async function search(rows, words) {
    const turn = ++searching;
    const found = [];
    parts.stop.hidden = false;
    for (let k = 0; k < rows.length; k++) {
      if (turn !== searching) return null;
      const sample = await document_(rows[k]);
      const text = [sample.prompt, sample.target, sample.teacher.output, sample.student.output].join(" ").toLowerCase();
      if (words.every((word) => text.includes(word))) found.push(rows[k]);
      if (k % 500 === 499) {
        parts.count.textContent = `searched ${k + 1} of ${rows.length}, ${found.length} found`;
        await new Promise((resolve) => setTimeout(resolve));
      }
    }
    parts.stop.hidden = true;
    return turn === searching ? found : null;
  }

  async function draw(route) {
    const { state } = route;
    const metric = metricOf(state), tags = tagsOf(state);
    const found = counts(metric, tags);
    const wanted = state.show ?? "differ";
    parts.task.lastChild.value = shown.board.index;
    parts.metric.lastChild.replaceChildren(...shown.index.models[shown.teacher].metrics.map((other) => el("option", { value: other.name, text: other.name })));
    parts.metric.lastChild.value = metric.name;
    parts.kinds.replaceChildren(...KINDS.filter(([kind]) => found[kind] || kind === wanted || kind === "all").map(([kind, title]) =>
      el("button", { type: "button", "data-kind": kind, "aria-pressed": String(kind === wanted), text: `${title} (${found[kind]})`, onclick: () => kdbench.setState({ show: kind === "differ" ? null : kind, at: null, page: null }) })));
    parts.tags.replaceChildren(...Object.entries(shown.index.tags).filter(([, column]) => column.values.length < 200).map(([key, column]) => {
      const select = el("select", { "data-tag": key, onchange: () => {
        const rest = tags.filter(([other]) => other !== key);
        if (select.value) rest.push([key, select.value]);
        kdbench.setState({ tag: rest.map((pair) => pair.join(":")).join("~"), at: null, page: null });
      } }, el("option", { value: "", text: "all" }), column.values.map((value) => el("option", { value, text: value })));
      select.value = tags.find(([other]) => other === key)?.[1] ?? "";
      return el("label", { class: "field" }, el("span", { text: key }), select);
    }));
    if (document.activeElement !== parts.q.lastChild) parts.q.lastChild.value = state.q ?? "";
    let rows = matching(state);
    const words = (state.q ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    if (words.length) {
      rows = await search(rows, words);
      if (!rows) return;
    } else {
      searching++;
      parts.stop.hidden = true;
    }
    const at = state.at == null ? null : Number(state.at);
    const one = at != null && Number.isInteger(at) && at >= 0 && at < shown.index.n;
    const pages = Math.max(1, Math.ceil(rows.length / PAGE));
    const page = Math.min(Math.max(0, Number(state.page) || 0), pages - 1);
    const visible = one ? [at] : rows.slice(page * PAGE, (page + 1) * PAGE);
    const turn = searching;
    const cards = await Promise.all(visible.map((i) => card(i, metric)));
    if (turn !== searching) return;
    parts.list.replaceChildren(...(cards.length ? cards : [el("p", { class: "notice", text: "No document is like that." })]));
    parts.count.textContent = one ? `document ${at + 1} of ${shown.index.n}` : `${rows.length} ${rows.length === 1 ? "document" : "documents"}${pages > 1 ? `, page ${page + 1} of ${pages}` : ""}`;
    const move = (by) => kdbench.setState({ page: String(page + by), at: null }, { replace: false });
    parts.pages.replaceChildren(...(one
      ? [el("button", { type: "button", text: "Back to the list", onclick: () => kdbench.setState({ at: null }) })]
      : pages > 1 ? [el("button", { type: "button", text: "Previous", disabled: page === 0, onclick: () => move(-1) }), el("button", { type: "button", text: "Next", disabled: page === pages - 1, onclick: () => move(1) })] : []));
  }

  function step(event) {
    if (!["j", "k"].includes(event.key) || event.ctrlKey || event.metaKey || event.altKey) return;
    const cards = [...parts.list.querySelectorAll(".sample")];
    const here = cards.indexOf(document.activeElement.closest(".sample"));
    const next = cards[here + (event.key === "j" ? 1 : -1)];
    if (next) {
      next.focus();
      next.scrollIntoView({ block: "start" });
    }
  }

  function build(holder) {
    let timer;
    const select = (onchange) => el("select", { onchange });
    parts = {
      task: el("label", { class: "field" }, el("span", { text: "Task" }), select((event) => {
        const board = shown.pair.samples.find((other) => other.index === event.target.value);
        const twice = shown.pair.samples.filter((other) => other.task === board.task).length > 1;
        kdbench.setState({ task: board.task, protocol: twice ? board.protocol : null, metric: null, tag: null, at: null, page: null });
      })),
      metric: el("label", { class: "field" }, el("span", { text: "Metric" }), select((event) => kdbench.setState({ metric: event.target.value, at: null, page: null }))),
      tags: el("div", { class: "chips" }),
      kinds: el("div", { class: "chips", role: "group", "aria-label": "Which documents" }),
      q: el("label", { class: "field" }, el("span", { text: "Search" }), el("input", { type: "search", placeholder: "words in prompt or output", oninput: (event) => {
        clearTimeout(timer);
        timer = setTimeout(() => kdbench.setState({ q: event.target.value.trim(), at: null, page: null }), 250);
      } })),
      stop: el("button", { type: "button", text: "Stop searching", hidden: true, onclick: () => {
        searching++;
        kdbench.setState({ q: null });
      } }),
      count: el("p", { class: "muted small", role: "status" }),
      list: el("div", { class: "samples", tabindex: "-1", onkeydown: step }),
      pages: el("div", { class: "chips" }),
    };
    parts.task.lastChild.append(...shown.pair.samples.map((board) => el("option", { value: board.index, text: board.task })));
    kdbench.add(holder,
      el("p", { class: "small" }, el("a", { href: kdbench.href("pair", shown.pair.id), text: "The pair" })),
      el("h1", {}, "Samples: ", name(shown.pair.student), el("span", { class: "muted", text: " of " }), name(shown.pair.teacher)),
      el("div", { class: "toolbar" }, parts.task, parts.metric, parts.tags, parts.q, parts.stop), parts.kinds, parts.count, parts.list, parts.pages,
      el("p", { class: "muted small", text: "Words of an output that are also in the target, in the same order, are marked; j and k move between documents." }));
  }

  kdbench.page("samples", {
    async render(holder, route) {
      shown = null;
      await open(route);
      build(holder);
      await draw(route);
      return `Samples of ${shown.pair.student}`;
    },
    async update(route) {
      await open(route);
      await draw(route);
    },
  });
})();
