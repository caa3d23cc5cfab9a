"""Benchmark and evaluation harness for distilled models: the teacher-student pair comes first."""

__version__ = "0.1.0"
