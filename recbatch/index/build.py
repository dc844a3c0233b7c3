"""Build a ScaNN index and write it into a folder, the same bytes in every process."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from recbatch.errors import RecbatchError
from recbatch.index.library import scann_module
from recbatch.index.parameters import MIN_CANDIDATES, IndexParameters
from recbatch.index.vectors import Candidates, FloatMatrix

DESCRIPTION = "index.json"
"""The file of ours beside ScaNN's: parameters, number and width of the candidates, similarity."""

_SCALED_BEYOND = 2.0**20


def build_index(candidates: Candidates, parameters: IndexParameters, folder: Path) -> dict[str, str]:
    """Build the index of ``candidates`` and write it into ``folder`` (made if need be; must be empty).

    Only one thread builds: with more, and over 256 leaves, candidates are put into other leaves from build to build,
    and so their codes differ, too. Python's lock is not held, so that indexes can be built side by side. Reordering
    works on bfloat16 copies, half the memory, since final scores are never taken from the index.

    Returns:
        The files: name -> "sha256:...". :func:`recbatch.index.load_index` wants exactly these.

    Raises:
        RecbatchError: too few candidates (under ``MIN_CANDIDATES``, or fewer than leaves), or the folder is not empty.
    """
    if len(candidates) < max(MIN_CANDIDATES, parameters.leaves):
        raise RecbatchError(
            f"{len(candidates)} candidates are too few for an index of {parameters.leaves} leaves "
            f"(at least {MIN_CANDIDATES}); search them exactly"
        )
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise RecbatchError(f"the index cannot be written to {folder}: the folder is not empty")
    library = scann_module()
    builder = library.builder(_at_unit_scale(candidates.vectors), 1, "dot_product")
    searcher = (
        builder.set_n_training_threads(1)
        .tree(
            num_leaves=parameters.leaves,
            num_leaves_to_search=1,
            training_sample_size=parameters.training_sample,
            training_iterations=parameters.training_iterations,
            random_init=False,
        )
        .score_ah(parameters.dims_per_block, training_sample_size=parameters.codes_sample)
        .reorder(1, quantize=library.scann_builder.ReorderType.BFLOAT16)
        .build()
    )
    searcher.serialize(str(folder), relative_path=True)
    description = {
        "parameters": dataclasses.asdict(parameters),
        "candidates": len(candidates),
        "width": candidates.width,
        "similarity": candidates.similarity,
    }
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n")
    return folder_checksums(folder)


def folder_checksums(folder: Path) -> dict[str, str]:
    """Every file below ``folder``: relative name -> "sha256:...", sorted by name."""
    result = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            result[path.relative_to(folder).as_posix()] = f"sha256:{digest}"
    return result


def index_checksum(files: Mapping[str, str]) -> str:
    """One checksum for a whole index: of the sorted names and checksums of its files."""
    lines = "".join(f"{name}\n{checksum}\n" for name, checksum in sorted(files.items()))
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"


def _at_unit_scale(vectors: FloatMatrix) -> FloatMatrix:
    """The vectors, times a power of two if their squares would come near the ends of float32.

    The ranking stays the same, and final scores are never taken from the index.
    """
    sample = vectors[:: max(1, len(vectors) // 100_000)].astype(np.float64)
    typical = float(np.median(np.sqrt(np.einsum("nd,nd->n", sample, sample))))
    if typical == 0 or 1 / _SCALED_BEYOND <= typical <= _SCALED_BEYOND:
        return vectors
    return np.ldexp(vectors, -round(np.log2(typical)))
