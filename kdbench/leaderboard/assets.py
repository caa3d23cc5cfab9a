"""The page itself: its files in the checkout or the wheel, and the plot library."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from kdbench.errors import KdbenchError
from kdbench.leaderboard.data_files import DataFiles

_PACKAGE = Path(__file__).resolve().parent.parent


def page_folder() -> Path:
    """Folder of index.html, style/ and script/."""
    folders = [_PACKAGE / "site", _PACKAGE.parent / "leaderboard"]  # in a wheel; in a checkout
    return next(folder for folder in folders if (folder / "index.html").is_file())


def plot_library() -> Path:
    """plotly.js as the Python package plotly carries it; `KdbenchError` says how to get it."""
    spec = find_spec("plotly")
    if spec is None or spec.origin is None:
        raise KdbenchError(
            "the site's charts need plotly, which is not installed: "
            "pip install 'kdbench[leaderboard]'"
        )
    return Path(spec.origin).parent / "package_data" / "plotly.min.js"


def write(site: DataFiles) -> None:
    """Copy page and plot library into the site."""
    library = plot_library()
    folder = page_folder()
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.relative_to(folder).parts[0] in (
            "index.html",
            "style",
            "script",
        ):
            site.copy(file.relative_to(folder).as_posix(), file)
    site.copy("plotly.min.js", library)
