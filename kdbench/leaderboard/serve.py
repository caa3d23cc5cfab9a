"""A site on this machine's own address, for those who prefer it to opening the file."""

from __future__ import annotations

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from kdbench.errors import SettingsConflictError
from kdbench.leaderboard.data_files import MARKER


class _Files(SimpleHTTPRequestHandler):
    def guess_type(self, path: Any) -> str:
        # some systems' own tables call scripts text/plain, which browsers then refuse to run
        return "text/javascript" if str(path).endswith(".js") else super().guess_type(path)

    def log_message(self, *_: Any) -> None:
        """Say nothing of every request."""

    def end_headers(self) -> None:
        # a site that was built anew must not come from the browser's memory
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()


def server(site: Path, port: int = 0) -> ThreadingHTTPServer:
    """A server of the folder `site` on 127.0.0.1; port 0 takes a free one.

    Raises `SettingsConflictError` where `site` is none, or the port is taken.
    """
    if not (site / MARKER).is_file():
        raise SettingsConflictError(
            f"{site}: not a site; `kdbench leaderboard build results --out {site}` makes one"
        )
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), partial(_Files, directory=str(site)))
    except OSError as error:
        raise SettingsConflictError(f"port {port}: {error.strerror}; choose another") from error
