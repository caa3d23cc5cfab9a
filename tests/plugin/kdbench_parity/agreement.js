"use strict";
kdbench.panel("parity-agreement", (element, data, { el }) =>
  element.append(el("p", { text: `${data.filter(Boolean).length} of ${data.length} answers are equal` })));
