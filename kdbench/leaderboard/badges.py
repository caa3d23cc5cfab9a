"""A badge for a README: what the student keeps, and at what speed."""

from __future__ import annotations

from html import escape

from kdbench.leaderboard.entries import Entry

_WIDTH = {
    **dict.fromkeys("iljI.,:;!|'", 3.2),
    **dict.fromkeys("ftr ()[]-", 4.2),
    **dict.fromkeys("mwMW%@", 9.6),
}


def badge_text(entry: Entry) -> str | None:
    """ "retains 97.1 % ± 0.6 of teacher at 2.3×"; None where no retention was measured."""
    kept = entry.numbers.get("retention")
    if kept is None:
        return None
    text = f"retains {100 * kept.value:.1f} %"
    if kept.low is not None and kept.high is not None:
        text += f" ± {100 * (kept.high - kept.low) / 2:.1f}"
    text += " of teacher"
    speed = entry.numbers.get("speedup")
    return text + (f" at {speed.value:.1f}×" if speed is not None else "")


def badge(label: str, text: str) -> str:
    """A flat two-part SVG; `label` is shortened to what fits."""
    label = "".join(character for character in label if character.isprintable())
    label = label if len(label) <= 40 else f"{label[:39]}…"
    left, right = _length(label), _length(text)
    width = left + right
    title = escape(f"{label}: {text}", quote=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="20" role="img" '
        f'aria-label="{title}"><title>{title}</title>'
        f'<rect width="{width:.0f}" height="20" rx="3" fill="#2456b3"/>'
        f'<path d="M3 0h{left - 3:.0f}v20H3a3 3 0 0 1-3-3V3a3 3 0 0 1 3-3z" fill="#3d4350"/>'
        '<g fill="#fff" text-anchor="middle" font-size="11" '
        'font-family="Verdana,DejaVu Sans,Geneva,sans-serif">'
        f'<text x="{left / 2:.1f}" y="14" textLength="{left - 12:.0f}">{escape(label)}</text>'
        f'<text x="{left + right / 2:.1f}" y="14" textLength="{right - 12:.0f}">{escape(text)}</text>'
        "</g></svg>\n"
    )


def _length(text: str) -> float:
    """Width in pixels, with six at each side; `textLength` fits the text to it exactly."""
    return 12 + sum(_WIDTH.get(character, 6.9) for character in text)
