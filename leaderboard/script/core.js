"use strict";
/* What all pages share: data files, routes, building elements, numbers as text. */
(() => {
  const kdbench = (window.kdbench = {});
  const received = new Map();
  const loading = new Map();

  // ---- data: scripts instead of fetch, because a page opened from file:// may not fetch its neighbours

  kdbench.receive = (path, data) => received.set(path, data);

  const inject = (path) =>
    new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = path;
      script.onload = () => (script.remove(), resolve());
      script.onerror = () => (script.remove(), reject(new Error(`${path} is not there or can't be read`)));
      document.head.append(script);
    });

  /** Run a script of the site once. */
  kdbench.script = (path) => {
    if (!loading.has(path)) {
      const promise = inject(path);
      promise.catch(() => loading.delete(path));
      loading.set(path, promise);
    }
    return loading.get(path);
  };

  /** The content of a data file, loaded once. */
  kdbench.load = async (path) => {
    if (!received.has(path)) await kdbench.script(path);
    if (!received.has(path)) throw new Error(`${path} holds no data of that name`);
    return received.get(path);
  };

  /** The plot library, which nothing needs before a chart is opened. */
  kdbench.plotly = async () => {
    await kdbench.script("plotly.min.js");
    return window.Plotly;
  };

  /** Columns of n values each (contract: plain, coded text, or interval) behind one `get`. */
  kdbench.frame = (data) => {
    const readers = {};
    for (const [key, column] of Object.entries(data.columns)) {
      if (Array.isArray(column)) readers[key] = (i) => column[i] ?? null;
      else if (column.codes) readers[key] = (i) => column.values[column.codes[i]] ?? null;
      else
        readers[key] = (i) =>
          column.value[i] == null
            ? null
            : { value: column.value[i], low: column.low[i] ?? null, high: column.high[i] ?? null };
    }
    return { n: data.n, columns: data.columns, has: (key) => key in readers, get: (key, i) => readers[key]?.(i) ?? null };
  };

  // ---- elements

  const fill = (node, props, children) => {
    for (const [key, value] of Object.entries(props ?? {})) {
      if (value == null || value === false) continue;
      if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else if (key === "text") node.textContent = value;
      else if (key in node && !(node instanceof SVGElement) && !/^(class|list|form|for)$|-/.test(key)) node[key] = value;
      else node.setAttribute(key, value === true ? "" : value);
    }
    return kdbench.add(node, ...children);
  };

  /** Append what is there: nothing, false and "" are left out, lists are laid flat. */
  kdbench.add = (node, ...children) => {
    node.append(...children.flat(Infinity).filter((child) => child != null && child !== false && child !== ""));
    return node;
  };

  /** An HTML element; strings among the children become text, never markup. */
  kdbench.el = (tag, props, ...children) => {
    const node = document.createElement(tag);
    if (props?.class) node.className = props.class;
    const { class: _, ...rest } = props ?? {};
    return fill(node, rest, children);
  };

  /** An SVG element. */
  kdbench.svg = (tag, attributes, ...children) =>
    fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

  const { el, svg } = kdbench;

  /** A name from outside, isolated so that its writing direction stays its own. */
  kdbench.name = (text) => el("bdi", { text: text ?? "" });

  kdbench.announce = (text) => (document.getElementById("announcements").textContent = text);

  kdbench.copyButton = (label, text) => {
    const button = el("button", { type: "button", class: "quiet copy", text: label });
    button.onclick = async () => {
      const done = await copy(typeof text === "function" ? text() : text);
      button.textContent = done ? "Copied" : "Press Ctrl+C";
      kdbench.announce(done ? "Copied" : "Select and copy by hand");
      setTimeout(() => (button.textContent = label), 1500);
    };
    return button;
  };

  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      // file:// and plain http have no clipboard; a selected field works everywhere
      const field = el("textarea", { value: text, class: "visually-hidden" });
      document.body.append(field);
      field.select();
      const done = document.execCommand("copy");
      field.remove();
      return done;
    }
  }

  kdbench.download = (name, mime, text) => {
    const url = URL.createObjectURL(new Blob([text], { type: `${mime};charset=utf-8` }));
    const link = el("a", { href: url, download: name });
    link.click(); // not in the page, so that no menu takes it for a click elsewhere
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  };

  // ---- numbers

  const MINUS = "\u2212";
  const signed = (text) => text.replace(/^-/, MINUS);

  function decimals(x) {
    const size = Math.abs(x);
    return size >= 100 ? 1 : size >= 10 ? 2 : 3;
  }

  const format = (kdbench.format = {
    /** Three decimals where they suffice; never an exponent for ordinary numbers. */
    number(x, unit) {
      if (x == null || Number.isNaN(x)) return "";
      if (unit === "bytes") return format.bytes(x);
      if (unit === "parameters" || unit === "count") return format.count(x);
      if (/^s\b/.test(unit) && Math.abs(x) < 0.1 && Math.abs(x) >= 1e-6) return signed(x.toPrecision(3)); // durations are often milliseconds
      if (Math.abs(x) >= 10000 || (x !== 0 && Math.abs(x) < 0.0005)) return signed(x.toPrecision(3));
      return signed(x.toFixed(decimals(x)));
    },
    interval(v, unit) {
      if (v == null || v.value == null) return "";
      const middle = format.number(v.value, unit);
      return v.low == null || v.high == null ? middle : `${middle} [${format.number(v.low, unit)}, ${format.number(v.high, unit)}]`;
    },
    ratio: (x) => (x == null ? "" : `${signed(x.toFixed(Math.abs(x) >= 10 ? 1 : 2))}\u00d7`),
    percent: (x, digits = 1) => (x == null ? "" : `${signed((100 * x).toFixed(digits))} %`),
    count(n) {
      if (n == null) return "";
      for (const [size, letter] of [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "k"]])
        if (n >= size) return `${(n / size).toPrecision(3)} ${letter}`;
      return String(n);
    },
    bytes(n) {
      if (n == null) return "";
      for (const [size, unit] of [[2 ** 40, "TiB"], [2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]])
        if (n >= size) return `${(n / size).toPrecision(3)} ${unit}`;
      return `${n} B`;
    },
    date: (iso) => (iso ? iso.slice(0, 10) : ""),
    pvalue: (p) => (p == null ? "" : p < 0.001 ? "<0.001" : p.toFixed(3)),
  });

  /** A value and, where it has one, its interval, as the content of a table's cell. */
  kdbench.measured = (v, unit) =>
    v == null || v.value == null ? [] : [format.number(v.value, unit), v.low != null && v.high != null && el("span", { class: "range-text", text: ` [${format.number(v.low, unit)}, ${format.number(v.high, unit)}]` })];

  /** A value with its interval as a small drawing; the text beside it carries the numbers. */
  kdbench.intervalBar = (v, { min = 0, max = 1, reference = null, kind = "", width = 96 } = {}) => {
    const height = 14, pad = 4;
    const x = (value) => pad + ((Math.min(Math.max(value, min), max) - min) / (max - min || 1)) * (width - 2 * pad);
    const drawing = svg("svg", { class: `interval ${kind}`, width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    drawing.append(svg("line", { class: "axis", x1: pad, x2: width - pad, y1: 7, y2: 7 }));
    if (reference != null && reference >= min && reference <= max)
      drawing.append(svg("line", { class: "reference", x1: x(reference), x2: x(reference), y1: 1, y2: 13 }));
    if (v?.value != null) {
      if (v.low != null && v.high != null)
        drawing.append(svg("line", { class: "range", x1: x(v.low), x2: Math.max(x(v.high), x(v.low) + 1), y1: 7, y2: 7 }));
      drawing.append(svg("circle", { class: "point", cx: x(v.value), cy: 7, r: 2.75 }));
    }
    return drawing;
  };

  // ---- colours

  const THEMES = ["auto", "light", "dark"];
  const stored = () => {
    try {
      return localStorage.getItem("kdbench-theme");
    } catch {
      return null; // some browsers keep no storage for file://
    }
  };

  function setTheme(name) {
    document.documentElement.dataset.theme = name;
    const button = document.getElementById("theme");
    button.textContent = { auto: "Auto", light: "Light", dark: "Dark" }[name];
    button.setAttribute("aria-label", `Colours: ${name === "auto" ? "as the system" : name}; change`);
    try {
      localStorage.setItem("kdbench-theme", name);
    } catch {
      /* the choice then lasts as long as the page */
    }
    window.dispatchEvent(new Event("kdbench:theme"));
  }

  kdbench.theme = () => {
    const style = getComputedStyle(document.documentElement);
    const names = ["text", "muted", "line", "accent", "background", "surface", "good", "bad", "teacher", "student", "published"];
    return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  };

  // ---- plots

  /** A text for the plot library, which reads a little markup in its texts. */
  kdbench.plotText = (text) => String(text ?? "").replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

  /** Draw a plot in the page's own colours; `x` and `y` are titles of the axes, or axes with a `title`. */
  kdbench.chart = async (target, traces, { x, y, ...layout }) => {
    const Plotly = await kdbench.plotly();
    const colours = kdbench.theme();
    const axis = (given) => {
      const { title, ...settings } = typeof given === "string" ? { title: given } : given;
      // no zoom by dragging: a finger that scrolls the page would be caught by every plot on its way
      return { gridcolor: colours.line, zeroline: false, automargin: true, fixedrange: true, ...settings, title: { text: kdbench.plotText(title), standoff: 10 } };
    };
    return Plotly.react(target, traces, {
      height: 300, margin: { l: 56, r: 12, t: 8, b: 44 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: colours.text, size: 12, family: getComputedStyle(document.body).fontFamily },
      hoverlabel: { bgcolor: colours.surface, bordercolor: colours.line, font: { color: colours.text } },
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" }, xaxis: axis(x), yaxis: axis(y), ...layout,
    }, { displaylogo: false, displayModeBar: false, responsive: true });
  };

  // ---- routes: #/page/param?key=value

  const pages = new Map();
  const panels = new Map();
  let current = null;

  /** Register a page. */
  kdbench.page = (name, page) => pages.set(name, page);
  /** Register the drawing of a panel; a panel's script calls it. */
  kdbench.panel = (name, draw) => panels.set(name, draw);
  kdbench.panelNamed = (name) => panels.get(name);

  kdbench.href = (page, param, state = {}) => {
    const path = page === "front" ? "" : [page, ...(param == null || param === "" ? [] : [encodeURIComponent(param)])].join("/");
    const pairs = Object.entries(state).filter(([, value]) => value != null && value !== "");
    const query = pairs.map((pair) => pair.map((text) => encodeURIComponent(text)).join("=")).join("&");
    return `#/${path}${query ? `?${query}` : ""}`;
  };

  const decoded = (text) => {
    try {
      return decodeURIComponent(text);
    } catch {
      return text; // a hash typed by hand may hold a lone %
    }
  };

  function parse(hash) {
    const [path, query = ""] = hash.replace(/^#\/?/, "").split(/\?(.*)/s);
    const [page = "", param = ""] = path.split("/").map(decoded);
    const state = {};
    for (const part of query.split("&").filter(Boolean)) {
      const [key, value = ""] = part.split(/=(.*)/s).map(decoded);
      state[key] = value;
    }
    return { page: page || "front", param, state };
  }

  kdbench.go = (page, param, state) => (location.hash = kdbench.href(page, param, state));

  /** What the address says of the current page's state. */
  kdbench.state = () => current.state;

  /** Change the state of the current page; null or "" takes a key out of the address. */
  kdbench.setState = (patch, { replace = true } = {}) => {
    const state = { ...current.state, ...patch };
    const hash = kdbench.href(current.page, current.param, state);
    if (hash === location.hash) return;
    if (replace) {
      history.replaceState(null, "", hash);
      show();
    } else location.hash = hash;
  };

  function failure(error) {
    return el("div", { class: "page" }, el("div", { class: "notice warning", role: "alert" },
      el("strong", { text: "This page can't be shown. " }), String(error.message ?? error)));
  }

  async function show() {
    if (/^#[^/]/.test(location.hash)) return; // an anchor within the page
    const route = parse(location.hash);
    const before = current;
    current = route;
    const page = pages.get(route.page);
    const main = document.getElementById("main");
    try {
      if (page && before && before.page === route.page && before.param === route.param && page.update) {
        await page.update(route);
        return;
      }
      for (const link of document.querySelectorAll("nav [data-page]"))
        link.dataset.page === route.page ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
      main.setAttribute("aria-busy", "true");
      if (!page) throw new Error(`There is no page called “${route.page}”.`);
      const holder = el("div", { class: `page page-${route.page}` });
      const title = await page.render(holder, route);
      if (current !== route && (current.page !== route.page || current.param !== route.param)) return;
      main.replaceChildren(holder);
      page.shown?.(route);
      const name = typeof title === "string" ? title : page.title;
      document.title = name ? `${name} · ${kdbench.site.title}` : kdbench.site.title;
      if (before) {
        window.scrollTo(0, 0);
        main.focus({ preventScroll: true });
        kdbench.announce(name ?? "");
      }
    } catch (error) {
      main.replaceChildren(failure(error));
      console.warn(error);
    } finally {
      if (current === route) main.removeAttribute("aria-busy");
    }
  }

  /** Read the site's own description and open the page that the address names. */
  kdbench.start = async () => {
    setTheme(THEMES.includes(stored()) ? stored() : "auto");
    document.getElementById("theme").onclick = () =>
      setTheme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length]);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => window.dispatchEvent(new Event("kdbench:theme")));
    document.querySelector(".skip").onclick = (event) => {
      event.preventDefault(); // the address holds the page's state
      document.getElementById("main").focus();
    };
    try {
      kdbench.site = await kdbench.load("data/site.js");
    } catch (error) {
      document.getElementById("main").replaceChildren(failure(error));
      return;
    }
    document.getElementById("title").textContent = kdbench.site.title;
    window.addEventListener("hashchange", show);
    await show();
  };
})();
