"""Judges of image and prompt: CLIPScore in its dialects, and models of human preference."""

from kdbench.models.judges.judge import JUDGES, Judge, JudgeSpec, judge

__all__ = ["JUDGES", "Judge", "JudgeSpec", "judge"]
