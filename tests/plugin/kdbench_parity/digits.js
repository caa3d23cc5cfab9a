"use strict";
kdbench.panel("parity-digits", (element, data, { el }) => {
  element.append(el("p", { text: `teacher ${data.teacher.map((x) => x.toFixed(2)).join(" ")}` }),
    el("p", { text: `student ${data.student.map((x) => x.toFixed(2)).join(" ")}` }));
});
