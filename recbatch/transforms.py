"""The Beam side of the work items: each is a plain function of :mod:`recbatch.work`, wired up here and nowhere else.

What travels between transforms is small: a slice, a range with the URI of its part, an Arrow chunk on its way to its
range. No row of a table and no vector crosses a shuffle; with several shards the scores of sampled queries do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import ModelHandler, RunInference
from apache_beam.pvalue import AsList, AsSingleton, TaggedOutput

from recbatch.config.models import Entity
from recbatch.dofns import NAMESPACE, Do, count, do, once
from recbatch.night import BundleRef, EmbeddingSet, Night, Plan, Shards, TableJob
from recbatch.run import recorded
from recbatch.work import auditing, bundles, embedding, indexing, inputs, merging, publish, search, shards
from recbatch.work.items import (
    Cuts,
    IndexRef,
    PartAudit,
    RangePart,
    ShardAudit,
    ShardQueries,
    SlicePart,
    SliceSample,
)

PackedRange = tuple[int, tuple[str, bytes] | None]
"""The number of a range and some of its rows, packed (None: none)."""


class SplitSlice(beam.DoFn):
    """One cleaned slice -> chunks keyed by their range, for the ranges whose profile is not there yet."""

    def __init__(self, night: Night):
        self._night = night

    def process(self, cleaned: SlicePart, cuts: Cuts) -> Iterator[Any]:
        with recorded(self._night.uri, "split"):
            for entity, number, packed in inputs.split_slice(self._night, cleaned, cuts):
                Metrics.counter(NAMESPACE, "split_chunks").inc()
                Metrics.counter(NAMESPACE, "split_chunk_bytes").inc(len(packed[1]))
                yield TaggedOutput(entity, (number, packed))


class EveryRange(beam.DoFn):
    """All ranges of all entities, so that one without a single row still gets its part."""

    def process(self, cuts: Cuts) -> Iterator[Any]:
        for entity in inputs.ENTITIES:
            for number in range(cuts.ranges.count(entity)):
                yield TaggedOutput(entity, (number, None))


def by_range(split: beam.ParDo) -> beam.PTransform:
    """Outputs ``user`` and ``item`` of :data:`PackedRange`: rows meet by a number, which all workers encode alike."""
    return split.with_output_types(Any, user=PackedRange, item=PackedRange).with_outputs("user", "item")


class Profiles(beam.PTransform):
    """Cleaned slices -> one profile part per range of users and per range of items: ``{entity: PCollection}``.

    Grouping is the runner's: chunks meet by range, and one work item per range writes the profile; one at a time, for
    the range of a user with millions of events takes the memory of two.
    """

    def __init__(self, night: Night, cuts: beam.PCollection[Cuts]):
        super().__init__()
        self._night = night
        self._cuts = cuts

    def expand(self, cleaned: beam.PCollection[SlicePart]) -> dict[str, beam.PCollection[RangePart]]:
        chunks = cleaned | "Split" >> by_range(beam.ParDo(SplitSlice(self._night), AsSingleton(self._cuts)))
        every = self._cuts | "Every range" >> by_range(beam.ParDo(EveryRange()))
        return {entity: self._group(entity, chunks[entity], every[entity]) for entity in inputs.ENTITIES}

    def _group(self, entity: Entity, *chunks: beam.PCollection[PackedRange]) -> beam.PCollection[RangePart]:
        return (
            chunks
            | f"Flatten {entity}s" >> beam.Flatten()
            | f"Bring {entity}s together" >> beam.GroupByKey()
            | do(self._night, f"group_{entity}s", inputs.Group(entity), AsSingleton(self._cuts), kind=Do)
        )


class Embed(beam.PTransform):
    """Profile parts -> embedding parts, by Beam's RunInference or as given; starts when the bundle is there."""

    def __init__(self, night: Night, vectors: EmbeddingSet, bundle: beam.PCollection[BundleRef]):
        super().__init__()
        self._night = night
        self._vectors = vectors
        self._bundle = bundle

    def expand(self, profiles: beam.PCollection[RangePart]) -> beam.PCollection[RangePart]:
        if self._vectors.bundle.given:
            return profiles | do(self._night, "embed", embedding.TakeGiven(self._vectors), AsSingleton(self._bundle))
        handler = TowerHandler(self._night, self._vectors)
        return (
            profiles
            | "Await the model" >> beam.Map(lambda part, _: [part], AsSingleton(self._bundle))
            | "Infer" >> RunInference(handler.with_no_batching())
        )


class TowerHandler(ModelHandler[RangePart, RangePart, embedding.LazyTower]):
    """A tower as RunInference wants it: a batch is one range's profile, a prediction is its embedding part."""

    def __init__(self, night: Night, vectors: EmbeddingSet):
        super().__init__()
        self._night = night
        self._vectors = vectors

    def load_model(self) -> embedding.LazyTower:
        """The tower, loaded at its first use: RunInference may ask for it before the bundle has been trained."""
        return embedding.LazyTower(self._night, self._vectors)

    def run_inference(
        self, batch: Sequence[RangePart], model: embedding.LazyTower, inference_args: Mapping[str, Any] | None = None
    ) -> Iterable[RangePart]:
        """Embed the ranges of a batch."""
        for profile in batch:
            with recorded(self._night.uri, "embed"):
                result = embedding.embed_range(self._night, self._vectors, profile, model)
            count("embed", result)
            yield result

    def get_num_bytes(self, batch: Sequence[RangePart]) -> int:
        """Bytes of the profiles; the default would pickle the batch to count."""
        return sum(profile.part.size_bytes for profile in batch)

    def get_metrics_namespace(self) -> str:
        """Namespace of RunInference's own metrics."""
        return f"{NAMESPACE}_{self._vectors.name}"


class Indexes(beam.PTransform):
    """The night's shards -> the references of the indexes of each table, one for each shard: ``{table: PCollection}``.

    All tables' indexes are one step's, for a build takes one core: so two are built at a time, the largest first.
    """

    def __init__(self, night: Night, embeddings: Mapping[str, beam.PCollection[RangePart]]):
        super().__init__()
        self._night = night
        self._embeddings = embeddings

    def expand(self, cut: beam.PCollection[Shards]) -> dict[str, beam.PCollection[IndexRef]]:
        every = AsList(tuple(self._embeddings.values()) | "All vectors" >> beam.Flatten())
        indexes = (
            cut
            | "Largest first" >> beam.FlatMap(shards.largest_first, self._night.jobs, every)
            | "Spread" >> beam.Reshuffle()
            | do(self._night, "index", indexing.make_index, every)
        )
        return {job.name: indexes | f"Of {job.name}" >> beam.Filter(_is_of, job.name) for job in self._night.jobs}


class Search(beam.PTransform):
    """Indexes -> audits of the table's parts.

    When all are there, a table whose index found too little is searched again, exactly.
    """

    def __init__(
        self,
        night: Night,
        job: TableJob,
        queries: beam.PCollection[RangePart],
        candidates: beam.PCollection[RangePart],
    ):
        super().__init__()
        self._night = night
        self._job = job
        self._queries = AsList(queries)
        self._candidates = AsList(candidates)

    def expand(self, indexes: beam.PCollection[IndexRef]) -> beam.PCollection[PartAudit]:
        lanes = indexes | "Lanes" >> beam.FlatMap(shards.lanes, self._queries)
        audits = lanes | "Shards" >> SearchShards(self._night, self._job, self._candidates)
        missed = indexes | "Missed" >> beam.FlatMap(_if_missed, self._job, AsList(audits))
        again = missed | "Lanes again" >> beam.FlatMap(shards.lanes, self._queries)
        return (
            audits | "Kept" >> beam.FlatMap(_if_met, self._job, AsList(audits)),
            again | "Exactly" >> SearchShards(self._night, self._job, self._candidates, exactly=True),
        ) | "One of both" >> beam.Flatten()


class SearchShards(beam.PTransform):
    """Lanes -> audits of the table's parts.

    What a range of queries finds in a shard is audited from storage as soon as it is there, and with that of the other
    shards becomes the range's part of the table.
    """

    def __init__(self, night: Night, job: TableJob, candidates: AsList, *, exactly: bool = False):
        super().__init__()
        self._night = night
        self._job = job
        self._candidates = candidates
        self._exactly = exactly

    def expand(self, lanes: beam.PCollection[Sequence[ShardQueries]]) -> beam.PCollection[PartAudit]:
        night, job = self._night, self._job
        return (
            lanes
            | "Spread" >> beam.Reshuffle()
            | "Ranges" >> beam.FlatMap(iter)
            | do(night, "search", search.Search(job, self._exactly), self._candidates)
            | do(night, "audit", auditing.AuditShard(job), self._candidates)
            | "By range" >> beam.Map(_by_range).with_output_types(tuple[int, ShardAudit])
            | "Bring shards together" >> beam.GroupByKey()
            | do(night, "merge", merging.Merge(job, self._exactly), kind=Do)
        )


def _if_missed(element: Any, job: TableJob, audits: Sequence[PartAudit]) -> Sequence[Any]:
    return [] if merging.found_enough(job, audits) else [element]


def _if_met(element: Any, job: TableJob, audits: Sequence[PartAudit]) -> Sequence[Any]:
    return [element] if merging.found_enough(job, audits) else []


def _is_of(index: IndexRef, table: str) -> bool:
    return index.table == table


def _by_range(audit: ShardAudit) -> tuple[int, ShardAudit]:
    return audit.number, audit


def clean(plan: Plan, root: beam.Pipeline) -> beam.PCollection[SlicePart]:
    """Every slice of the inputs, cleaned."""
    return (
        root
        | "Slices" >> beam.Create(list(plan.slices), reshuffle=False)
        | "Spread slices" >> beam.Reshuffle()
        | do(plan.night, "clean", inputs.clean_slice)
    )


def sample(night: Night, cleaned: beam.PCollection[SlicePart]) -> beam.PCollection[SliceSample]:
    """What the cut points need to know of each slice."""
    return cleaned | do(night, "sample", inputs.sample_slice)


def cut(night: Night, samples: beam.PCollection[SliceSample]) -> beam.PCollection[Cuts]:
    """The cut points (one element), when all slices are clean."""
    return once(samples.pipeline, night, "cut", inputs.cut_ranges, AsList(samples))


def fit(plan: Plan, cuts: beam.PCollection[Cuts]) -> beam.PCollection[BundleRef]:
    """The model bundle (one element); trained unless it is there. Waits for the cuts: bad input fails first."""
    train = Do(plan.night.uri, "train", bundles.make_bundle)
    return cuts.pipeline | "Plan of train" >> beam.Create([plan]) | "train" >> beam.ParDo(train, AsSingleton(cuts))


def cut_shards(night: Night, embeddings: Mapping[str, beam.PCollection[RangePart]]) -> beam.PCollection[Shards]:
    """The shards of every table's candidates (one element), when all vectors are there."""
    parts = list(embeddings.values())
    every = parts | "All vectors" >> beam.Flatten()
    return once(parts[0].pipeline, night, "shards", shards.cut_shards, AsList(every))


def audit_vectors(
    night: Night, vectors: EmbeddingSet, embedded: beam.PCollection[RangePart]
) -> beam.PCollection[PartAudit]:
    """Embedding parts -> their audits."""
    return embedded | f"Audit {vectors.name}" >> do(night, "audit", auditing.AuditVectors(vectors))


def finish(
    plan: Plan,
    samples: beam.PCollection[SliceSample],
    cleaned: beam.PCollection[SlicePart],
    profiles: dict[str, beam.PCollection[RangePart]],
    embeddings: dict[str, beam.PCollection[RangePart]],
    indexes: dict[str, beam.PCollection[IndexRef]],
    audits: Sequence[beam.PCollection[PartAudit]],
) -> beam.PCollection[str]:
    """Judgement, manifest, pointer and projection: one work item, when everything else is there."""
    root = cleaned.pipeline
    collected = {"Profiles": profiles.values(), "Embeddings": embeddings.values(), "Indexes": indexes.values()}
    sides = [
        AsList(tuple(parts) | f"All {name}" >> beam.Flatten(pipeline=root))
        for name, parts in {**collected, "Audits": audits}.items()
    ]
    publish_night = Do(plan.night.uri, "publish", publish.publish_night)
    return (
        root
        | "Plan of publish" >> beam.Create([plan])
        | "publish" >> beam.ParDo(publish_night, AsList(samples), AsList(cleaned), *sides)
    )
