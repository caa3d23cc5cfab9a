"""The efficiency family: what a student buys in time, memory, operations and energy.

Timings of a pair are interleaved: in this process (`efficiency.text`, `efficiency.image`,
`efficiency.classifier`), or behind two servers (`efficiency.serving`). What is counted or measured of one
model alone is its footprint (`efficiency.footprint`).
"""

from kdbench.tasks.efficiency import classifier, footprint, image, serving, text

__all__ = ["classifier", "footprint", "image", "serving", "text"]
