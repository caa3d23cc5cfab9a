"""Put a Chromium on this machine for the browser tests, if there is none: Debian's, else Playwright's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def installed() -> str | None:
    """Path of a Chromium: `KDBENCH_CHROMIUM`, else the first on the PATH, else Playwright's."""
    named = os.environ.get("KDBENCH_CHROMIUM")
    if named:
        return named
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found:
        return found
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if Path(own).exists() else None


def _works(command: list[str]) -> bool:
    return subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode == 0


def main() -> None:
    if installed():
        return
    if shutil.which("apt-get"):
        sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
        packages = ["chromium", "fonts-liberation", "fonts-noto-color-emoji"]
        install = [*sudo, "apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        if (
            subprocess.run([*sudo, "apt-get", "update", "-qq"], check=False, **quiet).returncode
            == 0
            and subprocess.run([*sudo, *install], check=False, **quiet).returncode == 0
            and installed()
        ):
            return
    subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=False)
    if not installed():
        sys.exit(
            "no Chromium for the browser tests: install one with your system's packages, or name it "
            "in KDBENCH_CHROMIUM"
        )


if __name__ == "__main__":
    main()
