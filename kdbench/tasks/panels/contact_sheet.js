"use strict";
/* Teacher's and student's images from the same noise, a row a condition. */
kdbench.panel("contact-sheet", async (element, data, { el }) => {
  const image = (role, row) => (content, i) => el("img", {
    src: `data:image/png;base64,${content}`, loading: "lazy", width: 96, height: 96,
    alt: `${role}, ${row.asked || "image"}, ${i + 1}`, title: row.asked,
    style: "object-fit: contain; image-rendering: pixelated; margin: 1px; background: rgba(128, 128, 128, 0.15)",
  });
  const cell = (role, row) => el("td", {}, row[role].map(image(role, row)));
  element.append(el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Contact sheet" },
    el("table", { class: "table" },
      el("thead", {}, el("tr", {}, ["asked", "teacher", "student"].map((text) => el("th", { scope: "col", text })))),
      el("tbody", {}, data.rows.map((row) => el("tr", {}, el("th", { scope: "row", class: "small" }, el("bdi", { text: row.asked || "—" })), cell("teacher", row), cell("student", row)))))));
});
