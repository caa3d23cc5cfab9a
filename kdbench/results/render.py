"""The table as text: for a terminal, for markdown, for a paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from kdbench.results.lines import HEADINGS, lines
from kdbench.results.table import Row, to_csv, to_json

if TYPE_CHECKING:
    from rich.console import Group

Format = Literal["terminal", "markdown", "csv", "json", "latex"]

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"$<$",
    ">": r"$>$",
}  # fmt: skip


def render(rows: Sequence[Row], form: Format) -> str:
    """Rows as text: tidy for machines (csv, json), read across for people (markdown, latex)."""
    if form == "csv":
        return to_csv(rows)
    if form == "json":
        return to_json(rows) + "\n"
    if form == "markdown":
        return _markdown(rows)
    if form == "latex":
        return _latex(rows)
    raise ValueError(f"not a text format: {form}")


def _markdown(rows: Sequence[Row]) -> str:
    body = [[text.replace("|", r"\|") for text in line.cells()] for line in lines(rows)]
    table = [list(HEADINGS), ["---"] * len(HEADINGS), *body]
    return "".join(f"| {' | '.join(row)} |\n" for row in table)


def _latex(rows: Sequence[Row]) -> str:
    def escape(text: str) -> str:
        return "".join(_LATEX.get(character, character) for character in text)

    body = [[escape(text) for text in line.cells()] for line in lines(rows)]
    inside = "".join(f"{' & '.join(row)} \\\\\n" for row in body)
    return (
        "% needs \\usepackage{booktabs}\n"
        f"\\begin{{tabular}}{{{'l' * 4}{'r' * (len(HEADINGS) - 4)}}}\n\\toprule\n"
        f"{' & '.join(escape(text) for text in HEADINGS)} \\\\\n\\midrule\n{inside}"
        "\\bottomrule\n\\end{tabular}\n"
    )


def terminal_table(rows: Sequence[Row]) -> Group:
    """For a rich console: a block for each task and metric, the teacher's line first."""
    from itertools import groupby

    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    all_lines = lines(rows)
    headings = HEADINGS[2:]
    texts = [headings, *(line.cells()[2:] for line in all_lines)]
    widths = [max(len(text[column]) for text in texts) for column in range(len(headings))]
    blocks: list[Any] = []
    for _, members in groupby(
        all_lines, key=lambda line: (line.task, line.metric, line.own.protocol)
    ):
        block = list(members)
        first = block[0].own
        better = "higher is better" if first.better == "higher" else "lower is better"
        heading = Text.assemble(
            ("\n" if blocks else "") + first.task,
            f"  {block[0].metric}",
            (f"  {first.unit}, {better}", "dim"),
            style="bold",
        )
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name, width in zip(headings, widths, strict=True):
            table.add_column(name, min_width=width, overflow="fold")
        for line in block:
            style = "red" if line.failed else "cyan" if line.own.role == "teacher" else ""
            table.add_row(*(Text(text) for text in line.cells()[2:]), style=style)
        blocks += [heading, table]
        reasons = dict.fromkeys(line.own.reason for line in block if line.own.reason)
        blocks += [Text(f"  {reason}", style="red") for reason in reasons]
    return Group(*blocks)
