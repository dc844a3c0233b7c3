"""A bundle's exported towers at work on a task, as a night uses them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recbatch.config.models import Model
from recbatch.evaluation.baselines import popularity
from recbatch.evaluation.protocols import find_protocol, require_askers
from recbatch.evaluation.ranking import rank_vectors
from recbatch.evaluation.task import Lists, Task
from recbatch.model import Bundle, Tower, load_bundle

_ROWS = 8192  # profiles handed to a tower at a time: their padded histories are in memory together


@dataclass(frozen=True)
class Embedded:
    """Vectors of a task's queries and candidates.

    Attributes:
        queries: float32 [q, dim].
        candidates: float32 [c, dim].
        known_queries: bool [q]; of the others the tower knows nothing.
        known_candidates: bool [c]; the others are not ranked.
        has_bias: the vectors end in an item bias, which ranks for those who are unknown, too.
    """

    queries: NDArray[np.float32]
    candidates: NDArray[np.float32]
    known_queries: NDArray[np.bool_]
    known_candidates: NDArray[np.bool_]
    has_bias: bool


def rank_bundle(task: Task, bundle_uri: str) -> Lists:
    """The lists of a bundle's towers.

    Raises:
        InputError: there is no such bundle, it reads what the data does not have, or it asks by items and the task
            by users.
    """
    return rank_embedded(task, embed_task(task, load_bundle(bundle_uri)))


def rank_embedded(task: Task, embedded: Embedded) -> Lists:
    """The lists by exact dot products, of the candidates that the tower knows.

    Who is unknown to the query tower is ranked for by the item bias; where the model has none, its one answer to all
    strangers is an accident, and they get the most popular candidates.
    """
    lists = rank_vectors(task, embedded.queries, embedded.candidates, embedded.known_candidates)
    strangers = ~embedded.known_queries
    if strangers.any() and not embedded.has_bias:
        lists[strangers] = popularity(task)[strangers]
    return lists


def embed_task(task: Task, bundle: Bundle) -> Embedded:
    """Embed a task's queries and candidates.

    Item pairs are asked to a query tower of items where the bundle has one; else the candidate tower answers for both
    sides, by cosine and without the bias coordinate, as the item2item of a night does.

    Raises:
        InputError: as for :func:`rank_bundle`.
    """
    towers, bias = bundle.manifest["towers"], bundle.manifest["bias_coordinate"]
    candidate = Tower(bundle.folder / "candidate", towers["candidate"])
    candidates, known_candidates = _embed(candidate, task.candidates)
    asks_by = towers["query"]["entity"]
    require_askers(find_protocol(task.protocol), asks_by, f"the model {bundle.uri}")
    if task.entity == "item" and asks_by == "user":
        candidates = _unit(candidates, bias)
        asking = task.seen_item  # in item pairs each query's one removed candidate is the item that asks
        return Embedded(candidates[asking], candidates, known_candidates[asking], known_candidates, has_bias=False)
    queries, known_queries = _embed(Tower(bundle.folder / "query", towers["query"]), task.queries)
    return Embedded(queries, candidates, known_queries, known_candidates, bias is not None)


def varies_by_event(model: Model, context: list[str]) -> bool:
    """Whether two questions of one user at different times, or in different contexts, have different answers.

    Args:
        model: the towers.
        context: the config's ``inputs.interactions.context``.
    """
    return any(
        feature.kind == "timestamp" or getattr(feature, "column", None) in context for feature in model.query.features
    )


def _embed(tower: Tower, profiles: pa.Table) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    vectors = np.empty((profiles.num_rows, tower.dim), np.float32)
    known = np.empty(profiles.num_rows, bool)
    for start in range(0, profiles.num_rows, _ROWS):
        rows = slice(start, min(start + _ROWS, profiles.num_rows))
        block = profiles.slice(rows.start, rows.stop - rows.start)
        as_of = block["as_of_us"].to_numpy() if tower.needs_time and "as_of_us" in block.column_names else None
        vectors[rows], known[rows] = tower.embed(block, as_of)
    return vectors, known


def _unit(vectors: NDArray[np.float32], bias_coordinate: int | None) -> NDArray[np.float32]:
    if bias_coordinate is not None:
        vectors = np.delete(vectors, bias_coordinate, axis=1)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)
