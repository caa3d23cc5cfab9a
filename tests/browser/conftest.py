"""A real browser on a real site: built from the committed results, opened from disk and over HTTP."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from install_browser import installed
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results"

# Switched off: what the browser itself would ask the network for.
QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip

OpenPage = Callable[..., Page]


def build_site(out: Path, *sources: Path | str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """`kdbench leaderboard build` as a user calls it."""
    done = subprocess.run(
        [sys.executable, "-m", "kdbench", "leaderboard", "build", *map(str, sources), "--out", str(out)],
        cwd=out.parent, capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of the committed results: the quickstart, and what papers claim."""
    out = tmp_path_factory.mktemp("leaderboard") / "site"
    build_site(out, RESULTS)
    return out


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = installed()
    if path is None:
        pytest.fail("no Chromium here: `python tests/browser/install_browser.py` puts one there")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=QUIET)
        yield chromium
        chromium.close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[[Path], str]]:
    """Serve a folder on loopback: serve(folder) -> address."""
    servers: dict[Path, ThreadingHTTPServer] = {}

    def call(folder: Path) -> str:
        if folder not in servers:
            server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            servers[folder] = server
        return f"http://127.0.0.1:{servers[folder].server_port}"

    yield call
    for server in servers.values():
        server.shutdown()


@contextmanager
def watched(browser: Browser) -> Iterator[tuple[Page, list[str]]]:
    """A new page, and the list of its console errors, script errors and requests to somewhere else."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    opened = context.new_page()
    wrong: list[str] = []
    opened.on(
        "console", lambda m: wrong.append(f"console: {m.text}") if m.type == "error" else None
    )
    opened.on("pageerror", lambda error: wrong.append(f"script: {error}"))
    opened.on(
        "request",
        lambda request: (
            None
            if request.url.startswith(("file:", "http://127.0.0.1:", "data:", "blob:"))
            else wrong.append(f"request: {request.url}")
        ),
    )
    yield opened, wrong
    context.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that fails its test on anything that `watched` notes."""
    with watched(browser) as (opened, wrong):
        yield opened
    assert not wrong, "\n".join(wrong)


@pytest.fixture
def open_page(page: Page, site: Path, serve: Callable[[Path], str]) -> OpenPage:
    """open_page("/pareto?x=...", kind="file"|"http", width=1280, folder=None) -> the page, drawn."""

    def call(
        route: str = "/", kind: str = "file", width: int = 1280, folder: Path | None = None
    ) -> Page:
        root = folder or site
        start = f"{serve(root)}/index.html" if kind == "http" else (root / "index.html").as_uri()
        page.set_viewport_size({"width": width, "height": 900})
        # the same document with another hash would not load anew
        page.goto("about:blank")
        page.goto(f"{start}#{route}")
        page.wait_for_selector("#main:not([aria-busy])")
        return page

    return call


@pytest.fixture(scope="session")
def axe() -> Callable[[Page], None]:
    """axe(page): no violation that axe-core calls serious or critical."""

    def call(page: Page) -> None:
        page.evaluate(AXE_SCRIPT)
        found = page.evaluate("axe.run(document, {resultTypes: ['violations'], preload: false})")
        bad = [v for v in found["violations"] if v["impact"] in ("serious", "critical")]
        places = []
        for violation in bad:
            places.append(f"{violation['id']}: {violation['help']}")
            for node in violation["nodes"][:3]:
                places.append(f"  {node['html'][:200]} | {node.get('failureSummary', '')}")
        assert not bad, "\n".join(places)

    return call


@pytest.fixture
def no_sideways_scroll() -> Callable[[Page], None]:
    """no_sideways_scroll(page): the document is not wider than the window."""

    def call(page: Page) -> None:
        width, window = page.evaluate(
            "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert width <= window, f"the page is {width} px wide in a window of {window} px"

    return call
