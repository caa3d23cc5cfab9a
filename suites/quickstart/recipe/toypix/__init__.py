"""Small diffusion models of handwritten digits, and the ways to make them take fewer steps.

The modules build on one another in this order: ``digits`` (the images), ``models`` (networks and the noise
schedule), ``diffusion`` (noising and sampling), ``training`` (learning from images), ``progressive`` and
``matching`` (the two distillations), ``classifier`` (the judge), ``files``, ``scores`` and ``sheet``.
"""

from kdbench.models.torchvision_on_cpu import mend

mend()  # before diffusers and transformers look for torchvision
