"""A bundle's weights by name, with the vocabularies that their rows stand for, and how the next fit begins with them.

``weights/exported.npz`` holds those of the exported towers, ``weights/measured.npz`` those of the measured ones where
they are others. A fit that is measured begins with measured weights only: the exported ones have seen what it holds
out. Plain arrays, no pickle: ``value:<tower>/<feature>/<weight>``, and for an embedding the texts of its last rows, one
after the other (``text:``), with their ends (``ends:``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
from numpy.typing import NDArray

from recbatch.errors import InputError
from recbatch.model.bundle import EXPORTED_WEIGHTS, MEASURED_WEIGHTS, Bundle
from recbatch.model.data import Prepared
from recbatch.model.heldout import Split, unseen_by
from recbatch.model.towers import TowerModel

_MOST_KNOWN = (
    0.01  # share of the held-out events that a bundle may have seen; a few come late or were a user's only ones
)


@dataclass(frozen=True)
class Weight:
    """One array of a fit.

    Attributes:
        values: [rows, ...].
        vocabulary: texts that the last rows stand for (rows before are those of missing and unknown values); None for
            an array whose rows have no names.
    """

    values: NDArray
    vocabulary: pa.Array | None


Weights = Mapping[str, Weight]


@dataclass(frozen=True)
class WarmStart:
    """What the fits of a training begin with.

    Attributes:
        measured: for the fit without the held-out events.
        exported: for the fit to everything.
        facts: what is known of it already, for the manifest.
    """

    measured: Weights
    exported: Weights
    facts: dict[str, Any]


def save_weights(path: Path, query: TowerModel, candidate: TowerModel) -> None:
    """Write the weights of two towers and the vocabularies of their embeddings."""
    arrays: dict[str, NDArray] = {}
    for name, variable, vocabulary in _named(query, candidate):
        arrays[f"value:{name}"] = variable.numpy()
        if vocabulary is not None:
            texts = vocabulary.cast(pa.large_binary())
            arrays[f"ends:{name}"] = np.frombuffer(texts.buffers()[1], np.int64)[1 : len(texts) + 1]
            arrays[f"text:{name}"] = np.frombuffer(texts.buffers()[2] or b"", np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]


def load_weights(path: Path) -> dict[str, Weight]:
    """What :func:`save_weights` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        names = [name.partition(":")[2] for name in stored.files if name.startswith("value:")]
        return {name: Weight(stored[f"value:{name}"], _vocabulary(stored, name)) for name in names}


def _vocabulary(stored: Any, name: str) -> pa.Array | None:
    if f"ends:{name}" not in stored.files:
        return None
    ends, text = stored[f"ends:{name}"], stored[f"text:{name}"]
    offsets = np.concatenate([np.zeros(1, np.int64), ends])
    buffers = [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(text.tobytes())]
    return pa.Array.from_buffers(pa.large_string(), len(ends), buffers)


def warm_start_of(bundle: Bundle, prepared: Prepared, split: Split) -> WarmStart:
    """What a training on ``prepared`` can begin with.

    Raises:
        InputError: the bundle holds no weights, or its measured ones have seen what is held out now.
    """
    if EXPORTED_WEIGHTS not in bundle.manifest["files"]:
        raise InputError(f"{bundle.uri} holds no weights to start from: it was made by an older version")
    known = split.heldout & ~unseen_by(bundle.manifest, prepared)
    if known.sum() > _MOST_KNOWN * split.heldout.sum():
        raise InputError(
            f"{bundle.uri} was fitted to {known.sum()} of the {split.heldout.sum()} events that are held out now, so a "
            f"fit that begins with it could not be measured; model.training.heldout and .seed have to be as they were"
        )
    exported = load_weights(bundle.folder / EXPORTED_WEIGHTS)
    measured = (
        load_weights(bundle.folder / MEASURED_WEIGHTS) if MEASURED_WEIGHTS in bundle.manifest["files"] else exported
    )
    facts = {"from": bundle.manifest["fingerprint"], "heldout_events_known": int(known.sum())}
    return WarmStart(measured, exported, facts)


def begin(weights: Weights, query: TowerModel, candidate: TowerModel, *, resumed: bool) -> dict[str, Any]:
    """Give towers the weights that they have in common with a fit; others keep what they start with.

    Args:
        weights: of the earlier fit.
        query: a tower, and ``candidate`` the other.
        resumed: the towers are those of a checkpoint: only count.

    Returns:
        ``copied`` and ``new`` rows of embeddings, and ``forgotten`` ones, which the vocabulary does not hold any more;
        ``weights_copied`` and ``weights_new``, the number of other arrays.
    """
    counts = Counter[str](copied=0, new=0, forgotten=0, weights_copied=0, weights_new=0)
    for name, variable, vocabulary in _named(query, candidate):
        found = weights.get(name)
        if vocabulary is not None:
            fits = found is not None and found.vocabulary is not None and found.values.shape[1:] == variable.shape[1:]
            rows = _grown(found, variable, vocabulary, counts) if fits and found is not None else None
            counts["new"] += len(vocabulary) if rows is None else 0
        else:
            fits = found is not None and found.vocabulary is None and found.values.shape == tuple(variable.shape)
            rows = found.values if fits and found is not None else None
            counts["weights_copied" if fits else "weights_new"] += 1
        if rows is not None and not resumed:
            variable.assign(rows)
    return dict(counts)


def _grown(found: Weight, variable: tf.Variable, vocabulary: pa.Array, counts: Counter[str]) -> NDArray:
    """The rows of an embedding: known texts have the earlier fit's, so do the missing and the unknown value."""
    assert found.vocabulary is not None
    rows = variable.numpy()
    first, first_found = len(rows) - len(vocabulary), len(found.values) - len(found.vocabulary)
    if first == first_found:
        rows[:first] = found.values[:first]
    place = pc.index_in(vocabulary, value_set=found.vocabulary).fill_null(-1).to_numpy()
    known = np.flatnonzero(place >= 0)
    rows[first + known] = found.values[first_found + place[known]]
    counts.update(copied=len(known), new=len(place) - len(known), forgotten=len(found.vocabulary) - len(known))
    return rows


def _named(query: TowerModel, candidate: TowerModel) -> Iterator[tuple[str, tf.Variable, pa.Array | None]]:
    """(name, weight, vocabulary) of every trainable weight, each once: an embedding may serve both towers."""
    seen: set[Any] = set()
    for tower_name, tower in (("candidate", candidate), ("query", query)):
        owners: list[tuple[str, Any]] = [*tower.learnt.layers.items(), ("", tower)]  # last what is the tower's own
        for owner, layer in owners:
            used = Counter[str]()
            for variable in layer.trainable_variables:
                if variable.ref() in seen:
                    continue
                seen.add(variable.ref())
                plain = variable.name.rpartition("/")[2].partition(":")[0]
                used[plain] += 1
                number = f"-{used[plain]}" if used[plain] > 1 else ""
                yield f"{tower_name}/{owner}/{plain}{number}", variable, _vocabulary_of(layer, variable)


def _vocabulary_of(layer: Any, variable: tf.Variable) -> pa.Array | None:
    """The texts of a layer's strings, if the variable is the embedding of these."""
    if isinstance(layer, TowerModel):
        if variable is not layer.item_bias:
            return None
        layer, variable = layer.learnt.layers["id"], layer.learnt.layers["id"].embedding.embeddings
    embedding = getattr(layer, "embedding", None)
    if embedding is None or not hasattr(layer, "strings") or variable is not embedding.embeddings:
        return None
    return pa.array(layer.strings.get_vocabulary(include_special_tokens=False), pa.large_string())
