"""A report for a terminal, a pull request, a CI system, a program."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from kdbench.check.report import Finding, Report, headline, interval, worst

if TYPE_CHECKING:
    from kdbench.check.flips import Flip

MOST_FLIPS = 5


def terminal(report: Report, explain: bool = False) -> str:
    """A line for each claim, the broken ones first; with `explain` its whole sentence."""
    lines = [f"note: {notice}" for notice in report.notices]
    for finding in worst(report.findings):
        warn = " (warn)" if finding.claim.gate.severity == "warn" else ""
        if explain:
            lines.append(f"{finding.outcome:<12}  {finding.explain()}")
            continue
        lines.append(f"{finding.outcome:<12}  {finding.name}: {_short(finding)}{warn}")
    return "\n".join([*lines, "", headline(report)]) + "\n"


def _short(finding: Finding) -> str:
    if finding.decided is None:
        return finding.explain().partition("MISSING, as ")[2]
    text = f"{interval(finding.decided.estimate)}, n {finding.decided.estimate.n}"
    more = finding.more_samples
    return text if more is None else f"{text}; about {more} more samples would settle it"


def as_json(report: Report) -> str:
    return json.dumps(_finite(report.json()), indent=1, ensure_ascii=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(held) for key, held in value.items()}
    if isinstance(value, list):
        return [_finite(held) for held in value]
    return None if isinstance(value, float) and value - value != 0 else value


def schema() -> dict[str, Any]:
    """JSON Schema of `as_json`'s document, version 1."""

    def optional(kind: str) -> dict[str, Any]:
        return {"type": [kind, "null"]}

    verdict = {"enum": ["PASS", "FAIL", "INCONCLUSIVE", "MISSING"]}
    text = {"type": "string"}
    claim = {
        "gate": {"type": "integer", "description": "place of the gate in the suite"},
        "sentence": text, "severity": {"enum": ["fail", "warn"]}, "task": text,
        "about": text, "against": text, "verdict": verdict,
        **dict.fromkeys(
            ("value", "low", "high", "confidence", "least", "most", "detectable"),
            optional("number"),
        ),
        "unit": optional("string"), "method": optional("string"),
        **dict.fromkeys(
            ("n", "clusters", "lost", "gained", "unmatched", "more_samples"), optional("integer")
        ),
        "explanation": text,
    }  # fmt: skip
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "kdbench check",
        "type": "object",
        "required": ["schema", "suite", "verdict", "exit_code", "notices", "claims"],
        "additionalProperties": False,
        "properties": {
            "schema": {"const": 1},
            "suite": text,
            "verdict": verdict,
            "exit_code": {"enum": [0, 1, 2]},
            "notices": {"type": "array", "items": text},
            "claims": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": list(claim),
                    "additionalProperties": False,
                    "properties": claim,
                },
            },
        },
    }


def markdown(
    report: Report,
    flips: Callable[[Finding], list[Flip]],
    address: Callable[[Finding], str] = lambda finding: "",
) -> str:
    """Verdict first, then a table, then the worst flips of what did not pass.

    `address` gives the page that shows all flips of a claim, or nothing.
    """
    lines = [
        f"## kdbench check: {report.verdict}",
        "",
        f"{_md(headline(report))} ({_md(report.suite)})",
        "",
    ]
    lines += [f"> {_md(notice)}\n" for notice in report.notices]
    lines += ["| verdict | gate | value | n | |", "| --- | --- | --- | ---: | --- |"]
    for finding in worst(report.findings):
        decided = finding.decided
        more = finding.more_samples
        remark = f"about {more} more samples" if more is not None else ""
        if decided is None:
            remark = _md(_short(finding))
        cells = [
            f"**{finding.outcome}**" if finding.breaks else finding.outcome,
            _md(finding.name),
            _md(interval(decided.estimate)) if decided else "",
            str(decided.estimate.n) if decided else "",
            remark + (" (warn)" if finding.claim.gate.severity == "warn" else ""),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    for finding in worst(report.findings):
        found = flips(finding) if finding.outcome in ("FAIL", "INCONCLUSIVE") else []
        if found:
            lines += ["", f"<details><summary>{_md(finding.name)}: where it lost</summary>", ""]
            for flip in found[:MOST_FLIPS]:
                lines += [
                    f"- `{_code(flip.id)}` {_md(_cut(flip.prompt))}",
                    f"  - target: {_md(_cut(flip.target))}",
                    f"  - {_md(finding.claim.against)}: {_md(_cut(flip.first))}",
                    f"  - {_md(finding.claim.about)}: {_md(_cut(flip.second))}",
                ]
            rest, link = len(found) - MOST_FLIPS, address(finding)
            if link:
                lines += ["", f"[All {len(found)} documents on the site]({link})"]
            elif rest > 0:
                lines += ["", f"and {rest} more"]
            lines += ["", "</details>"]
    return "\n".join(lines) + "\n"


def _md(text: str) -> str:
    """Text that stays text in markdown: no markup, no HTML, no mention of anybody."""
    text = re.sub(r"\s+", " ", text)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\`*_{}\[\]|#~])", r"\\\1", text)
    return text.replace("@", "@\u200b")


def _code(text: str) -> str:
    return text.replace("`", "'").replace("|", r"\|")


def _cut(text: str, length: int = 160) -> str:
    return text if len(text) <= length else f"… {text[-length:]}"


def junit(report: Report) -> str:
    """JUnit XML: a test case for each claim; warnings and gates without a verdict yet are skipped."""
    suite = ElementTree.Element("testsuite", name=f"kdbench check {_xml(report.suite)}")
    counts = {"tests": len(report.findings), "failures": 0, "skipped": 0}
    for finding in report.findings:
        case = ElementTree.SubElement(
            suite, "testcase", classname=_xml(finding.claim.task), name=_xml(finding.name)
        )
        text = _xml(finding.explain())
        open_question = finding.outcome == "INCONCLUSIVE" and report.inconclusive != "fail"
        if finding.outcome == "PASS":
            ElementTree.SubElement(case, "system-out").text = text
        elif finding.claim.gate.severity == "warn" or open_question:
            counts["skipped"] += 1
            ElementTree.SubElement(case, "skipped", message=text)
        else:
            counts["failures"] += 1
            ElementTree.SubElement(case, "failure", type=finding.outcome, message=text).text = text
    for key, count in counts.items():
        suite.set(key, str(count))
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _xml(text: str) -> str:
    """Without the characters that XML can't hold."""
    return re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)


def github(report: Report, lines: Callable[[int], int | None]) -> str:
    """Workflow commands that mark the gates' lines in the suite (`lines` gives a gate's line)."""
    return "".join(f"{line}\n" for line in _annotations(report, lines))


def _annotations(report: Report, lines: Callable[[int], int | None]) -> Iterator[str]:
    for finding in worst(report.findings):
        if finding.outcome == "PASS":
            continue
        kind = "error" if finding.breaks else "warning"
        if finding.outcome == "INCONCLUSIVE" and report.inconclusive == "fail":
            kind = "error"
        line = lines(finding.claim.index)
        place = f"file={_property(report.file)}" + (f",line={line}" if line else "")
        yield f"::{kind} {place},title=kdbench {finding.outcome}::{_message(finding.explain())}"


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")
