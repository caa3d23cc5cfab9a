"""Outputs of other tools, read as counts in one convention.

`read` takes the files of one measurement: one file, or one for each time that it was repeated on the same
prompts. What a tool counts without the bonus token, from 0, or in draft tokens becomes `Counted`; how that
was done is said in `Imported.protocol`, so that numbers of different conventions are never compared.
"""

from kdbench.results.imports.counted import Counted, Imported
from kdbench.results.imports.reading import FORMATS, read

__all__ = ["FORMATS", "Counted", "Imported", "read"]
