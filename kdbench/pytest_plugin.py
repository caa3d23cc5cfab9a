"""`pytest --kdbench suite.yaml`: every gate of a suite as a test, with its evidence where it fails.

Nothing of kdbench is imported unless the option is given.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from kdbench.check import Finding, Report


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("kdbench", "gates of distilled models")
    group.addoption(
        "--kdbench", metavar="SUITE", action="append", default=[],
        help="judge the gates of this suite, each as a test (may be given several times)",
    )  # fmt: skip
    group.addoption(
        "--kdbench-results", metavar="DIR", help="where results are (default: the suite's)"
    )
    group.addoption(
        "--kdbench-baseline", metavar="ORIGIN", help="earlier results in place of those named"
    )
    group.addoption(
        "--kdbench-inconclusive", choices=("pass", "fail"), default="fail",
        help="what a gate that can't be told yet does (default: fail)",
    )  # fmt: skip


class GatesNotHeldError(Exception):
    """A gate that is broken, has no row, or can't be told yet."""


class Gates(pytest.Collector):
    """The gates of one suite."""

    def collect(self) -> list[GateItem]:
        report = self._report()
        for notice in report.notices:
            warnings.warn(pytest.PytestWarning(notice), stacklevel=1)
        return [GateItem.from_parent(self, name=f.name, finding=f) for f in report.findings]

    def _report(self) -> Report:
        from kdbench.check import check_suite
        from kdbench.errors import KdbenchError
        from kdbench.suite import load_suite

        option = self.config.getoption
        try:
            suite = load_suite(self.path)
            root = Path(option("--kdbench-results") or suite.settings.results)
            return check_suite(suite, root, option("--kdbench-baseline"))
        except KdbenchError as error:
            raise pytest.UsageError(str(error)) from error


class GateItem(pytest.Item):
    """One gate on one task and pair."""

    def __init__(self, *, finding: Finding, **given: Any) -> None:
        super().__init__(**given)
        self.finding = finding

    def runtest(self) -> None:
        finding = self.finding
        if finding.outcome == "PASS":
            return
        if finding.claim.gate.severity == "warn":
            warnings.warn(pytest.PytestWarning(finding.explain()), stacklevel=1)
            return
        undecided = finding.outcome == "INCONCLUSIVE"
        if undecided and self.config.getoption("--kdbench-inconclusive") == "pass":
            pytest.skip(finding.explain())
        raise GatesNotHeldError(finding.explain())

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, GatesNotHeldError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, self.name


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """With `--kdbench` and no tests named, only gates are run."""
    config = session.config
    if config.getoption("--kdbench") and config.args_source is not config.ArgsSource.ARGS:
        config.args = []


def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    for name in config.getoption("--kdbench"):
        path = Path(name).absolute()
        gates: Gates = Gates.from_parent(session, path=path, name=path.name)
        items.extend(gates.collect())
