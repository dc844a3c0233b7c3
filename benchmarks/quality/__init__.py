"""How well the models retrieve, beside their published figures and beside other libraries: ``make bench-quality``.

A measurement is a list of cells (:mod:`.plan`); a cell is one system on one split of one protocol of one dataset, is
made in a process of its own (:mod:`.measuring`) and kept as a JSON file (:mod:`.store`); docs/quality.md is written
from the cells (:mod:`.report`). Peers run in environments of their own (:mod:`.environments`) and exchange NumPy files.
"""

import os

# As recbatch.model has it, for a program here that imports TensorFlow first: TFRS is written for Keras 2.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
