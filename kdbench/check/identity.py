"""Whether names still mean the models that they meant: a gate on the wrong model says nothing.

Results know each model by the fingerprint of its files (weights, tokenizer, templates, dtype), whatever
its name or path.
"""

from __future__ import annotations

from typing import Any

from kdbench.check.published import Results
from kdbench.errors import SettingsConflictError

Fingerprint = dict[str, Any]


def check_pairs(results: Results) -> None:
    """Raises `SettingsConflictError` for a pair whose student is the teacher itself."""
    known = _fingerprints(results)
    for pair in results.pairs:
        teacher, student = pair["teacher"], pair["student"]
        if teacher in known and known[teacher] == known.get(student):
            raise SettingsConflictError(
                f"{results.name}: {student} and its teacher {teacher} are one and the same model "
                f"({_short(known[student])}): one of them is kept or served under the wrong name"
            )


def check_names(before: Results, now: Results) -> None:
    """Raises `SettingsConflictError` where a name stands for what another name stood for before."""
    earlier, present = _fingerprints(before), _fingerprints(now)
    for name, fingerprint in present.items():
        if name not in earlier or earlier[name] == fingerprint:
            continue
        owner = next((other for other, own in earlier.items() if own == fingerprint), None)
        if owner is not None:
            raise SettingsConflictError(
                f"{now.name}: {name} is now what {before.name} calls {owner} "
                f"({_short(fingerprint)}): it is kept or served under the wrong name"
            )


def _fingerprints(results: Results) -> dict[str, Fingerprint]:
    found: dict[str, Fingerprint] = {}
    for cell in results.record["cells"]:
        models = (cell.get("ingredients") or {}).get("models") or {}
        for role, fingerprint in models.items():
            found[cell[role]] = fingerprint
    return found


def _short(fingerprint: Fingerprint) -> str:
    parts = {key: str(value) for key, value in fingerprint.items() if value not in (None, "")}
    key = "weights" if "weights" in parts else next(iter(parts), "")
    return f"{key} {parts[key][:12]}" if key else "without a fingerprint"
