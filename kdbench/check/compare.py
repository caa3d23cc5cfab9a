"""`kdbench compare`: two models, runs or revisions, sample by sample, as if each metric were a gate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from fnmatch import fnmatchcase

from kdbench.check import whole_sets
from kdbench.check.claims import Claim, common_order, differing
from kdbench.check.evidence import Evidence, Missing, join, paired, unchanged
from kdbench.check.identity import check_names
from kdbench.check.judge import judged
from kdbench.check.published import Board, Results, published_results
from kdbench.check.report import Inconclusive, Report
from kdbench.check.verdicts import Bounds
from kdbench.errors import SettingsConflictError, did_you_mean
from kdbench.results.origins import fetch
from kdbench.suite.gate import Gate
from kdbench.tasks.aggregate import OWN
from kdbench.tasks.compare import LOG_LIKELIHOODS
from kdbench.tasks.task import Metric


def compare(
    first: str,
    second: str,
    margin: float = 0.0,
    confidence: float = 0.95,
    task: str = "*",
    metric: str = "*",
    inconclusive: Inconclusive = "report",
) -> Report:
    """Is `second` no worse than `first`, by `margin`, in every metric that both have?

    Each is the origin of results (a folder, `git:REV:PATH`, a zip, an address), with `#MODEL` for one
    model; without, every model is compared with the one of its name. Perplexities compare by their ratio
    (the margin is then of 1), all other metrics by the paired difference. Raises
    `SettingsConflictError` where there is nothing to compare.
    """
    with ExitStack() as stack:
        (one, first_model), (other, second_model) = (_open(text, stack) for text in (first, second))
        if first_model is None or second_model is None:
            check_names(one, other)
        claims = []
        for ours, theirs in _models(one, first_model, other, second_model):
            claims += list(_claims(one, ours, other, theirs, margin, confidence, (task, metric)))
        notices = _left_out(one, other, task)
    if not claims:
        raise SettingsConflictError(
            f"{first} and {second} have no task and metric in common"
            + (f" that match {task} and {metric}" if (task, metric) != ("*", "*") else "")
            + "".join(f"; {notice}" for notice in notices)
        )
    return Report(f"{first} / {second}", second, judged(claims), notices, inconclusive)


def _open(text: str, stack: ExitStack) -> tuple[Results, str | None]:
    origin, _, model = text.partition("#")
    results = published_results(stack.enter_context(fetch(origin)), origin)
    known = sorted({name for board in results.boards for name in board.models})
    if model and model not in known:
        raise SettingsConflictError(
            f"{origin}: no model named {model!r}{did_you_mean(model, known)}; there are "
            f"{', '.join(known)}"
        )
    return results, model or None


def _models(
    one: Results, first: str | None, other: Results, second: str | None
) -> list[tuple[str, str]]:
    if first is not None and second is not None:
        return [(first, second)]
    both = {name for board in one.boards for name in board.models} & {
        name for board in other.boards for name in board.models
    }
    named = first or second
    return [(name, name) for name in sorted(both) if named in (None, name)]


def _claims(
    one: Results,
    ours: str,
    other: Results,
    theirs: str,
    margin: float,
    confidence: float,
    patterns: tuple[str, str],
) -> Iterator[Claim]:
    for board in other.boards:
        if theirs not in board.models or not fnmatchcase(board.label, patterns[0]):
            continue
        if timed(board):
            continue
        before = [b for b in one.on(board.label) if ours in b.models]
        for declared in board.models[theirs][0]["metrics"]:
            metric = Metric(**declared)
            if not before or not fnmatchcase(metric.name, patterns[1]):
                continue
            same = next((b for b in before if b.dialect == board.dialect), None)
            if same is None:
                raise SettingsConflictError(
                    f"{board.label}: made in two protocols, which are never compared: "
                    f"{differing(before[0].dialect, board.dialect)}"
                )
            names = (_called(one, ours), _called(other, theirs))
            yield _claim(same, ours, board, theirs, metric, names, margin, confidence)


def timed(board: Board) -> bool:
    """Whether a board holds timings, or what else depends on the hardware."""
    cells = [*(cells[0] for cells in board.models.values()), *board.pairs.values()]
    return any("hardware" in (cell.get("ingredients") or {}) for cell in cells)


def _left_out(one: Results, other: Results, pattern: str) -> list[str]:
    """Timings are never compared between two runs, not even of one machine; which ones, in words."""
    labels = sorted({b.label for b in other.boards if timed(b) and fnmatchcase(b.label, pattern)})
    if not labels:
        return []
    places = {
        results.name: sorted(
            {
                cell["hardware"]
                for board in results.boards
                if timed(board)
                for cell in [
                    *board.pairs.values(),
                    *(c for own in board.models.values() for c in own),
                ]
            }
        )
        for results in (one, other)
    }
    where = "; ".join(f"{name}: {', '.join(found) or 'none'}" for name, found in places.items())
    return [f"left out, as timings of two runs are not paired ({where}): {', '.join(labels)}"]


def _called(results: Results, model: str) -> str:
    return f"{results.name}#{model}"


def _claim(
    before: Board,
    ours: str,
    now: Board,
    theirs: str,
    metric: Metric,
    names: tuple[str, str],
    margin: float,
    confidence: float,
) -> Claim:
    by_ratio = metric.aggregation in LOG_LIKELIHOODS and metric.aggregation != "bits_per_byte"
    if by_ratio:
        bounds = Bounds(None, 1 + margin)
    else:
        bounds = Bounds(0.0 - margin, None) if metric.better == "higher" else Bounds(None, margin)
    evidence: Evidence | Missing
    trouble = before.trouble(ours) or now.trouble(theirs)
    if trouble:
        evidence = Missing(trouble)
    elif metric.aggregation == OWN:
        evidence = whole_sets.paired(metric, "gap", (before, ours), (now, theirs))
    else:
        kind = "ratio" if by_ratio else "gap"
        order = common_order(before.results, now.results)
        both = join(
            before.answers(ours, metric.name, None, order),
            now.answers(theirs, metric.name, None, order),
        )
        if before.keys(ours) == now.keys(theirs) and both.alike:
            evidence = unchanged(metric, kind, len(both.ids))
        else:
            evidence = paired(metric, kind, names, both)
    gate = Gate.model_construct(
        kind="no_worse_than", metric=metric.name, on=now.label, where=None, pair=None, model=None,
        min=None, max=None, baseline=names[0], margin=margin or None, confidence=confidence, severity="fail",
    )  # fmt: skip
    return Claim(0, gate, now.label, theirs, names[0], bounds, evidence)
