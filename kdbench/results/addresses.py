"""Where things stand on the site of the results: names that its files and links share."""

from __future__ import annotations

import json
from hashlib import sha256
from urllib.parse import quote, urlencode


def identifier(*parts: str | int | None) -> str:
    """Twelve hex digits that stand for names in file names and addresses."""
    text = json.dumps(parts, ensure_ascii=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()[:12]


def pair_id(suite: str, pair: str, hardware: str) -> str:
    """A pair's page; runs of one suite on different machines stay apart."""
    return identifier(suite, pair, hardware)


def lost_samples(site: str, pair: str, task: str, metric: str) -> str:
    """The address of the documents of a task that the teacher has right and the student wrong.

    `site` is where the leaderboard is served, `pair` the pair's identifier.
    """
    state = urlencode({"task": task, "metric": metric, "show": "lost"}, quote_via=quote)
    return f"{site.rstrip('/')}/#/samples/{pair}?{state}"
