"use strict";
/* Tables as text: for a spreadsheet, a program, a pull request, a paper. */
(() => {
  const LATEX = {
    "\\": "\\textbackslash{}", "&": "\\&", "%": "\\%", $: "\\$", "#": "\\#", _: "\\_", "{": "\\{", "}": "\\}",
    "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "<": "$<$", ">": "$>$", "\u2212": "$-$", "\u00d7": "$\\times$",
  };
  const field = (value) => {
    const text = value == null ? "" : String(value);
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const cell = (value) => (value == null ? "" : String(value)).replace(/\s+/g, " ");
  const markdown = (value) => cell(value).replace(/[\\|`*_<>[\]]/g, "\\$&");
  const latex = (value) => cell(value).replace(/[\\&%$#_{}~^<>\u2212\u00d7]/g, (character) => LATEX[character]);
  const line = (cells) => `| ${cells.join(" | ")} |\n`;

  /** Each takes columns [{key, title, numeric?}] and rows (objects), and returns text. */
  kdbench.tableText = {
    csv: (columns, rows) =>
      [columns.map((column) => field(column.key)), ...rows.map((row) => columns.map((column) => field(row[column.key])))]
        .map((cells) => `${cells.join(",")}\n`).join(""),
    json: (columns, rows) =>
      `${JSON.stringify(rows.map((row) => Object.fromEntries(columns.map((column) => [column.key, row[column.key] ?? null]))), null, 1)}\n`,
    markdown: (columns, rows) =>
      line(columns.map((column) => markdown(column.title))) +
      line(columns.map((column) => (column.numeric ? "---:" : "---"))) +
      rows.map((row) => line(columns.map((column) => markdown(row[column.key])))).join(""),
    latex: (columns, rows) =>
      `% needs \\usepackage{booktabs}\n\\begin{tabular}{${columns.map((column) => (column.numeric ? "r" : "l")).join("")}}\n\\toprule\n` +
      `${columns.map((column) => latex(column.title)).join(" & ")} \\\\\n\\midrule\n` +
      rows.map((row) => `${columns.map((column) => latex(row[column.key])).join(" & ")} \\\\\n`).join("") +
      "\\bottomrule\n\\end{tabular}\n",
  };

  const FORMS = { csv: ["CSV", "text/csv"], json: ["JSON", "application/json"], markdown: ["Markdown", "text/markdown"], latex: ["LaTeX", "application/x-tex"] };
  const ENDINGS = { csv: "csv", json: "json", markdown: "md", latex: "tex" };

  /** Buttons that download a view; `view(form)` gives {columns, rows} for "csv", "json", "markdown" or "latex". */
  kdbench.exportButtons = (name, view) =>
    kdbench.el("div", { class: "chips" }, Object.entries(FORMS).map(([form, [title, mime]]) =>
      kdbench.el("button", {
        type: "button", text: title, "data-form": form,
        onclick: () => {
          const { columns, rows } = view(form);
          kdbench.download(`${name}.${ENDINGS[form]}`, mime, kdbench.tableText[form](columns, rows));
        },
      })));
})();
