"""What papers claim, as rows of the tidy table that are never mistaken for measured ones.

    results/published/claims.csv     the claims as read in the papers' abstracts
    results/published/papers.jsonl   the papers
    results/published/metrics.csv    the same claims in the tidy table's columns and a few more

`python -m kdbench.results.claims results/published` makes the table from the claims.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from kdbench.errors import StoreError
from kdbench.results.files import publish
from kdbench.results.table import COLUMNS, Role, Row, format_cell, read_csv

Quantity = Literal["score", "gain", "relative", "ratio"]
"""A score as it stands; a gain in its own points or percent; a relative change; a ratio to a baseline."""

FAMILIES = {
    "llm-kd": "reasoning", "llm-reasoning": "reasoning", "speculative": "speculative",
    "t2i-step-distill": "images", "diffusion-other": "images", "super-resolution": "images",
    "multimodal-vlm": "vision-language", "nas-compression": "compression",
}  # fmt: skip
"""Family of a paper's kind; other kinds are families of their own."""

TASKS = {
    "GSM8K": "gsm8k", "AIME24": "aime24", "AIME 2024": "aime24", "AIME 2025": "aime25",
    "MATH-500": "minerva_math500", "GLUE": "glue",
}  # fmt: skip
"""Data sets by lm-eval's names."""

METRICS = {
    "FID": "frechet_distance", "FID-5k": "frechet_distance", "CLIPScore": "clip_score",
    "CLIP score": "clip_score", "GenEval": "geneval_overall", "HPSv2": "hpsv2",
    "top-1 accuracy": "top1_accuracy", "Top-1 accuracy": "top1_accuracy",
    "AIME25 accuracy": "accuracy", "LiveCodeBench accuracy": "accuracy", "Pass@1": "pass@1",
    "inference time": "latency", "generation time": "latency", "FPS": "throughput",
    "sampling steps": "steps", "NFE": "steps", "inference speedup": "speedup",
    "end-to-end inference speedup": "speedup", "sampling speedup": "speedup",
    "generation speedup": "speedup", "inference tokens": "tokens_per_answer",
}  # fmt: skip
"""Papers' words for metrics by kdbench's; others become their own words in snake case."""

ARTEFACTS = (
    "dataset size", "output resolution", "output duration", "output frame rate", "longest video",
    "largest model distilled", "trainable model size", "rendering resolution", "challenge rank",
    "size of model decomposed", "training prompts scaled to", "datasets introduced",
)  # fmt: skip
"""Sizes of what was released or handled, which are no results."""

_BOUNDS = (
    (r"lower bound|\bat least\b|\bover\b|\bmore than\b", "at least"),
    (r"upper bound|\bless than\b|\bwithin\b", "at most"),
    (r"\bup to\b|\bmaximum\b|\bbest case\b", "up to"),
    (r"approx|\babout\b|order of magnitude", "about"),
)
_QUANTITIES: tuple[tuple[str, Quantity], ...] = (
    (r"^x\b|\bspeedup\b|% of |ratio\b|relative to (teacher|baseline)", "ratio"),
    (r"relative|reduction|% more|% change|% loss|compression|fewer|smaller|cheaper", "relative"),
    (r"gain|improvement|decrease|degradation", "gain"),
)
_SCALES = {"B": 1e9, "M": 1e6, "G": 1e9, "B parameters": 1e9, "parameters": 1.0}
_HEAD = ("source", "paper", "quote", "quantity", "bound", "range_low", "range_high", "dataset")
EXTRA = (
    *_HEAD, "baseline", "baseline_value", "params", "stated_metric", "stated_value", "stated_unit",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """A row of the tidy table with where it is claimed and what kind of number it is.

    `row.value` is in `row.unit`; `stated_value` and `stated_unit` are the paper's own. A range has its
    ends in `range_low` and `range_high`, and no single value.
    """

    row: Row
    source: str
    paper: str
    quote: str
    quantity: Quantity
    bound: str
    range_low: float | None
    range_high: float | None
    dataset: str
    baseline: str
    baseline_value: float | None
    params: str
    stated_metric: str
    stated_value: str
    stated_unit: str

    def extra(self) -> dict[str, Any]:
        """Values of the columns that the tidy table does not have."""
        return {name: getattr(self, name) for name in EXTRA}


def converted(claim: Mapping[str, str], kind: str) -> PublishedRow | None:
    """A claim as a published row; None for sizes of artefacts. `kind` is the paper's."""
    metric, unit = claim["metric"], claim["unit"]
    bare = re.sub(r"\s*\(.*?\)", "", metric).strip()
    if claim["task"] == "artifact size" or bare in ARTEFACTS:
        return None
    said = f"{unit} {' '.join(re.findall(r'[(](.*?)[)]', metric))}"
    quantity = _quantity(bare, f"{said} {metric}")
    bound = next((word for pattern, word in _BOUNDS if re.search(pattern, said)), "")
    low, high = _numbers(claim["value"])
    scale, own_unit = _unit(bare, unit, quantity)
    name = "speedup" if bare == "latency" and "speedup" in unit else METRICS.get(bare, _slug(bare))
    family = FAMILIES.get(kind, kind)
    what = TASKS.get(claim["dataset"]) or _slug(claim["dataset"] or claim["task"] or bare)
    stated = [("dataset", claim["dataset"]), ("steps", claim["steps_nfe"])]
    row = Row(
        suite="published",
        task=f"{family}/{what}",
        protocol="; ".join(["as published", *(f"{k}={v}" for k, v in stated if v)]),
        metric=name,
        unit=own_unit,
        better={"true": "higher", "false": "lower"}.get(claim["higher_is_better"], ""),
        pair="",
        method=claim["method"],
        role=_role(quantity),
        model=claim["student"] or claim["method"],
        value=_scaled(low, scale) if low == high else None,
        ci_low=None, ci_high=None, ci_method="", n=None, n_clusters=None, seed=0,
        status="published",
        hardware=claim["hardware"],
        steps=int(claim["steps_nfe"]) if claim["steps_nfe"].isdigit() else None,
        cell="", created="", kdbench="",
    )  # fmt: skip
    ranged = low != high
    return PublishedRow(
        row=row,
        source=claim.get("title", ""),
        paper=claim["paper_id"],
        quote=claim["quote"],
        quantity=quantity,
        bound=bound,
        range_low=_scaled(low, scale) if ranged else None,
        range_high=_scaled(high, scale) if ranged else None,
        dataset=claim["dataset"],
        baseline=claim["baseline_name"],
        baseline_value=float(claim["baseline_value"]) if claim["baseline_value"] else None,
        params=claim["params"],
        stated_metric=metric,
        stated_value=claim["value"],
        stated_unit=unit,
    )


def _quantity(bare: str, marks: str) -> Quantity:
    if bare in ("gap to teacher", "search speedup"):
        return "relative"
    return next((kind for pattern, kind in _QUANTITIES if re.search(pattern, marks)), "score")


def _numbers(text: str) -> tuple[float, float]:
    """`10-20` is a range; a leading minus is a sign."""
    match = re.fullmatch(r"(-?[\d.]+)(?:-([\d.]+))?", text.strip())
    if match is None:
        raise ValueError(f"not a number or a range: {text!r}")
    return float(match[1]), float(match[2] or match[1])


def _unit(bare: str, unit: str, quantity: Quantity) -> tuple[float, str]:
    """Factor and unit of kdbench for a paper's unit; gains and relative changes keep the paper's."""
    plain = re.sub(r"\s*\(.*?\)", "", unit).strip()
    if quantity == "ratio":
        return (0.01, "ratio") if plain.startswith("%") else (1.0, "ratio")
    if quantity != "score":
        return 1.0, plain
    if plain == "%":
        return 0.01, "fraction"
    if "parameters" in bare:
        return _SCALES.get(plain, 1.0), "parameters"
    if bare.startswith("FLOPs"):
        return _SCALES.get(plain, 1.0), "FLOPs"
    return 1.0, "steps" if plain == "NFE" else plain


def _scaled(value: float, scale: float) -> float:
    return float(format(value * scale, ".10g"))


def _role(quantity: Quantity) -> Role:
    """A score is the student's own; every other number compares it with something."""
    return "student" if quantity == "score" else "pair"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9@]+", "_", text.lower()).strip("_") or "unnamed"


def to_csv(rows: Iterable[PublishedRow]) -> str:
    """Rows as CSV text in a fixed order."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, *EXTRA])
    ordered = sorted(rows, key=lambda r: (*r.row.sort_key(), int(r.paper), r.stated_value))
    for row in ordered:
        cells = [*astuple(row.row), *row.extra().values()]
        writer.writerow([format_cell(cell) for cell in cells])
    return text.getvalue()


def read(folder: Path) -> list[PublishedRow]:
    """Rows of `folder`/metrics.csv; `StoreError` names the line that is not one."""
    path = folder / "metrics.csv"
    rows = read_csv(path)
    with path.open(encoding="utf-8", newline="") as file:
        records = list(csv.DictReader(file))
    missing = [name for name in EXTRA if records and name not in records[0]]
    if missing:
        raise StoreError(f"{path}:1: a table of published numbers needs {', '.join(missing)}")
    found = []
    floats = {f.name for f in fields(PublishedRow) if f.type == "float | None"}
    for line, (row, record) in enumerate(zip(rows, records, strict=True), start=2):
        if row.status != "published":
            raise StoreError(
                f"{path}:{line}: column status: a published number can't be {row.status!r}"
            )
        try:
            extra: dict[str, Any] = {
                n: _optional(record[n]) if n in floats else record[n] for n in EXTRA
            }
        except ValueError as error:
            raise StoreError(f"{path}:{line}: {error}") from error
        found.append(PublishedRow(row, **extra))
    return found


def _optional(text: str) -> float | None:
    return float(text) if text else None


def read_papers(folder: Path) -> list[dict[str, Any]]:
    """Papers of `folder`/papers.jsonl; none where there is no such file."""
    path = folder / "papers.jsonl"
    if not path.is_file():
        return []
    papers = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            papers.append(json.loads(line))
        except ValueError as error:
            raise StoreError(f"{path}:{number}: not JSON: {error}") from error
    return papers


def converted_folder(folder: Path) -> list[PublishedRow]:
    """Every claim of `folder`/claims.csv that is a result; `StoreError` names the line at fault."""
    kinds = {str(paper["id"]): paper["kind"] for paper in read_papers(folder)}
    path = folder / "claims.csv"
    found = []
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        for claim in reader:
            try:
                row = converted(claim, kinds.get(claim["paper_id"], "other"))
            except (KeyError, ValueError) as error:
                raise StoreError(f"{path}:{reader.line_num}: {error}") from error
            if row is not None:
                found.append(row)
    return found


def main(arguments: Sequence[str]) -> None:
    folder = Path(arguments[0])
    publish(folder / "metrics.csv", to_csv(converted_folder(folder)).encode())


if __name__ == "__main__":
    main(sys.argv[1:])
