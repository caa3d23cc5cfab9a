"""Images of teacher and student side by side, each pair from the same condition and the same noise."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from kdbench.results.sample import Sample
from kdbench.tasks.panel import PanelInput

MOST = 24
"""Conditions on the sheet."""
EACH = 4
"""Images of one condition."""
LARGEST = 200_000
"""Bytes of an image, as base64; what is larger was not made by kdbench."""


def data(given: PanelInput) -> Any:
    """Small PNGs of both as base64; None where no images were kept."""
    rows: list[dict[str, Any]] = []
    for teacher, student in given.pairs():
        _add(rows, teacher, _kept(teacher, "thumbnails"), _kept(student, "thumbnails"))
    if not rows:
        for sample in given.samples():
            _add(rows, sample, _kept(sample, "teacher"), _kept(sample, "student"))
    return {"rows": rows} if rows else None


def _add(
    rows: list[dict[str, Any]], sample: Sample, teacher: list[str], student: list[str]
) -> None:
    if teacher and student and len(rows) < MOST:
        asked = str(sample.extra.get("asked", ""))[:300]
        count = min(len(teacher), len(student), EACH)  # the n-th of both come from one noise
        rows.append({"asked": asked, "teacher": teacher[:count], "student": student[:count]})


def _kept(sample: Sample, key: str) -> list[str]:
    """Images that are PNGs, whatever else a sample holds under this key."""
    found = sample.extra.get(key)
    return [one for one in found if _is_png(one)] if isinstance(found, list) else []


def _is_png(text: Any) -> bool:
    if not isinstance(text, str) or len(text) > LARGEST:
        return False
    try:
        return base64.b64decode(text, validate=True).startswith(b"\x89PNG\r\n")
    except (binascii.Error, ValueError):
        return False
