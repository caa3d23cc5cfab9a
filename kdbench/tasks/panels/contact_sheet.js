"use strict";
/* Teacher's and student's images from the same noise side by side, a tile for each condition. */
kdbench.panel("contact-sheet", async (element, data, { el }) => {
  const roles = ["teacher", "student"];
  const image = (role, row, i) => el("img", {
    src: `data:image/png;base64,${row[role][i]}`, width: 96, height: 96, alt: `${role}, ${row.asked || "image"}, ${i + 1}`, title: row.asked,
    onload: (event) => event.target.classList.toggle("few-pixels", event.target.naturalWidth < 40),
  });
  const tile = (row) => el("li", {},
    el("div", { class: "asked small", title: row.asked }, el("bdi", { text: row.asked || "—" })),
    el("div", { class: "pairs" }, roles.map((role) => el("span", { class: "muted", text: role })),
      row.teacher.map((_, i) => roles.map((role) => image(role, row, i)))));
  element.append(el("ul", { class: "sheet" }, data.rows.map(tile)));
});
