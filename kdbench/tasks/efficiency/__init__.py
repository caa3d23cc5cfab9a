"""The efficiency family: what a student buys in time, memory, operations and energy.

Timings of a pair are interleaved (`efficiency.text`); what is counted or measured of one model alone is its
footprint (`efficiency.footprint`).
"""

from kdbench.tasks.efficiency import footprint, text

__all__ = ["footprint", "text"]
