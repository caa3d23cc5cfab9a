"""A toy language, the models that speak it, and the ways to train them.

The modules build on one another in this order: ``lexicon`` (words), ``document`` (what a
document is, and which side of the train/test split it belongs to), ``problems``, ``passages`` and
``stories`` (the three kinds of document), ``corpus`` (streams and test files), ``text``
(tokenizer), ``batches``, ``models`` and ``distil`` (training).
"""

from kdbench.models import torchvision_on_cpu

torchvision_on_cpu.mend()  # before anything imports transformers
