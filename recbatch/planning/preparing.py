"""What a row costs until its vector is there, measured with the night's own work items on a sample of its inputs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recbatch.config.models import Entity
from recbatch.night import EmbeddingSet, Plan
from recbatch.planning.meter import Meter
from recbatch.run import read_part
from recbatch.work import auditing, embedding, inputs
from recbatch.work.given import describe_given
from recbatch.work.inputs import ENTITIES
from recbatch.work.items import Cuts, RangePart, SlicePart

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Bytes:
    """Of parts: rows, and bytes of a row."""

    rows: int
    size: int

    @property
    def per_row(self) -> float:
        """Bytes of a row; 0 where there is none."""
        return self.size / self.rows if self.rows else 0.0


@dataclass
class Prepared:
    """What was measured.

    Attributes:
        meter: ``clean``, ``sample`` and ``split`` by input, per row; ``group`` by entity, per row; ``embed`` and
            ``audit`` by set of vectors, per id. Named ``step/of``.
        stored: bytes of the parts, named ``slices/<input>``, ``profiles/<entity>``, ``vectors/<set>``.
        width: of each set's vectors.
        share: of each set's ids, how many have a valid vector.
        ids: of each entity, some.
        vectors: (ids, vectors) of each set, of the same; empty where there is no model yet.
    """

    meter: Meter = field(default_factory=Meter)
    stored: dict[str, Bytes] = field(default_factory=dict)
    width: dict[str, int] = field(default_factory=dict)
    share: dict[str, float] = field(default_factory=dict)
    ids: dict[Entity, pa.Array] = field(default_factory=dict)
    vectors: dict[str, tuple[pa.Array, Vectors]] = field(default_factory=dict)


def measure_preparing(plan: Plan) -> Prepared:
    """Clean, group and embed the inputs of a small planned night; embed only where the bundle is there."""
    night, found = plan.night, Prepared()
    cleaned = [_clean(plan, number, found) for number in range(len(plan.slices))]
    samples = []
    for part in cleaned:
        with found.meter(f"sample/{part.piece.source}", part.part.rows):
            samples.append(inputs.sample_slice(night, part))
    with found.meter("cut/all", sum(part.part.rows for part in cleaned)):
        cuts = inputs.cut_ranges(night, None, samples)
    chunks: Mapping[Entity, dict[int, list[inputs.Packed | None]]] = {entity: defaultdict(list) for entity in ENTITIES}
    for part in cleaned:
        with found.meter(f"split/{part.piece.source}", part.part.rows):
            for entity, number, packed in inputs.split_slice(night, part, cuts):
                chunks[entity][number].append(packed)
    profiles = {entity: _group(plan, entity, chunks[entity], cuts, found) for entity in ENTITIES}
    if plan.training is None:
        if night.bundle.given:
            describe_given(plan)
        for vectors in night.sets:
            _embed(plan, vectors, profiles[vectors.entity], found)
    return found


def _clean(plan: Plan, number: int, found: Prepared) -> SlicePart:
    piece = plan.slices[number]
    with found.meter(f"clean/{piece.source}", piece.rows):
        result = inputs.clean_slice(plan.night, piece)
    _add(found, f"slices/{piece.source}", [result.part.rows], [result.part.size_bytes])
    return result


def _group(
    plan: Plan, entity: Entity, chunks: Mapping[int, Iterable[inputs.Packed | None]], cuts: Cuts, found: Prepared
) -> list[RangePart]:
    profiles = []
    work = inputs.Group(entity)
    rows = plan.night.input_rows.get("interactions", 0)
    for number in range(cuts.ranges.count(entity)):
        with found.meter(f"group/{entity}", 0):
            profiles.append(work(plan.night, (number, chunks.get(number, [])), cuts))
    ids = sum(item.part.rows for item in profiles)
    found.meter.of(f"group/{entity}").units = rows + ids
    _add(found, f"profiles/{entity}", [ids], [sum(item.part.size_bytes for item in profiles)])
    found.ids[entity] = pa.concat_arrays(
        [pa.array([], pa.string()), *(c for item in profiles for c in read_part(item.part.uri, ["id"])["id"].chunks)]
    )
    return profiles


def _embed(plan: Plan, vectors: EmbeddingSet, profiles: Sequence[RangePart], found: Prepared) -> None:
    night = plan.night
    model = None if vectors.bundle.given else embedding.LazyTower(night, vectors)
    if model is not None:
        with found.meter(f"load/{vectors.name}", 1):
            _ = model.tower
    parts, audit = [], auditing.AuditVectors(vectors)
    for profile in profiles:
        with found.meter(f"embed/{vectors.name}", profile.part.rows):
            parts.append(embedding.embed_range(night, vectors, profile, model))
        with found.meter(f"audit/{vectors.name}", profile.part.rows):
            audit(night, parts[-1])
    rows = sum(item.part.rows for item in parts)
    _add(found, f"vectors/{vectors.name}", [rows], [sum(item.part.size_bytes for item in parts)])
    found.width[vectors.name] = max(item.part.counts["width"] for item in parts)
    found.share[vectors.name] = rows / max(1, sum(item.part.counts["ids"] for item in parts))
    with found.meter(f"read/{vectors.name}", rows):
        found.vectors[vectors.name] = embedding.read_vectors(parts)


def _add(found: Prepared, name: str, rows: Sequence[int], sizes: Sequence[int]) -> None:
    before = found.stored.get(name, Bytes(0, 0))
    found.stored[name] = Bytes(before.rows + sum(rows), before.size + sum(sizes))
