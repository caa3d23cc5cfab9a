"""A device whose time follows a script, for tests of what is timed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kdbench.models.timing import Subject


class FakeClock:
    """Time passes only by `advance`; `speed(now)` is how much longer work takes at that moment (1: as
    told)."""

    name = "scripted"

    def __init__(self, speed: Callable[[float], float] = lambda now: 1.0) -> None:
        self.now = 0.0
        self.speed = speed
        self.settled = 0

    def advance(self, seconds: float) -> None:
        self.now += seconds * self.speed(self.now)

    def settle(self) -> None:
        self.settled += 1

    def stamp(self) -> float:
        return self.now

    def seconds(self, stamps: Sequence[float]) -> list[float]:
        return [stamp - stamps[0] for stamp in stamps[1:]]

    def subject(self, name: str, *parts: float) -> Subject:
        """Work in `parts` of so many seconds, with a mark after each but the last."""

        def call(mark: Callable[[], None]) -> None:
            for number, part in enumerate(parts, 1):
                self.advance(part)
                if number < len(parts):
                    mark()

        return Subject(name, call)
