"""The Beam side of the work items: each is a plain function of :mod:`recbatch.work`, wired up here and nowhere else.

What travels between transforms is small: a slice, a range with the URI of its part, an Arrow chunk on its way to its
range. No row of a table and no vector crosses a shuffle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import ModelHandler, RunInference
from apache_beam.pvalue import AsList, AsSingleton

from recbatch.interactions import Slice
from recbatch.night import BundleRef, EmbeddingSet, Night, TableJob
from recbatch.run import Part, recorded
from recbatch.work import embed, inputs, publish, search, train
from recbatch.work.items import Cuts, IndexRef, PartAudit, RangePart

NAMESPACE = "recbatch"

RangeKey = tuple[str, int]
"""Entity and number of a range."""


class Do(beam.DoFn):
    """Runs one work item per element: ``work(night, element, *side_inputs)``.

    A failure is written into the run directory before the runner sees it. Counters tell how many parts were made and
    how many were found from an earlier attempt.
    """

    def __init__(self, night: Night, step: str, work: Callable[..., Any]):
        self._night = night
        self._step = step
        self._work = work

    def process(self, element: Any, *side: Any) -> Iterator[Any]:
        with recorded(self._night.uri, self._step):
            result = self._work(self._night, element, *side)
        count(self._step, result)
        yield result


def count(step: str, result: Any) -> None:
    """Count a finished work item on its edge."""
    part = result.part if isinstance(result, RangePart) else result
    if isinstance(part, Part):
        Metrics.counter(NAMESPACE, f"{step}_parts_{'made' if part.made else 'found'}").inc()
        Metrics.counter(NAMESPACE, f"{step}_rows").inc(part.rows)
        Metrics.distribution(NAMESPACE, f"{step}_part_bytes").update(part.size_bytes)
    else:
        Metrics.counter(NAMESPACE, f"{step}_items").inc()


def do(night: Night, step: str, work: Callable[..., Any], *side: Any) -> beam.PTransform:
    """``ParDo(Do(...))``, named by the step."""
    return step >> beam.ParDo(Do(night, step, work), *side)


class SplitSlice(beam.DoFn):
    """One cleaned slice -> chunks keyed by their range, for the ranges whose profile is not there yet."""

    def __init__(self, night: Night):
        self._night = night

    def process(self, element: tuple[Slice, Part], cuts: Cuts) -> Iterator[Any]:
        with recorded(self._night.uri, "split"):
            for entity, number, chunk in inputs.split_slice(self._night, *element, cuts):
                Metrics.counter(NAMESPACE, "split_chunks").inc()
                Metrics.counter(NAMESPACE, "split_chunk_bytes").inc(len(chunk))
                yield beam.pvalue.TaggedOutput(entity, (number, chunk))


class EveryRange(beam.DoFn):
    """All ranges of all entities, so that one without a single row still gets its part."""

    def process(self, cuts: Cuts) -> Iterator[Any]:
        for entity in ("user", "item"):
            for number in range(cuts.ranges.count(entity)):
                yield beam.pvalue.TaggedOutput(entity, (number, b""))


class Profiles(beam.PTransform):
    """Cleaned slices -> one profile part per range of users and per range of items: ``{entity: PCollection}``.

    Grouping is the runner's: chunks meet by range, and one work item per range writes the profile.
    """

    def __init__(self, night: Night, cuts: beam.PCollection[Cuts]):
        super().__init__()
        self._night = night
        self._cuts = cuts

    def expand(self, cleaned: beam.PCollection[tuple[Slice, Part]]) -> dict[str, beam.PCollection[RangePart]]:
        chunks = cleaned | "Split" >> beam.ParDo(SplitSlice(self._night), AsSingleton(self._cuts)).with_outputs(
            "user", "item"
        )
        every = self._cuts | "EveryRange" >> beam.ParDo(EveryRange()).with_outputs("user", "item")
        return {entity: self._group(entity, chunks[entity], every[entity]) for entity in ("user", "item")}

    def _group(self, entity: str, *chunks: beam.PCollection[tuple[int, bytes]]) -> beam.PCollection[RangePart]:
        return (
            chunks
            | f"Flatten {entity}s" >> beam.Flatten()
            | f"ByRange {entity}s" >> beam.GroupByKey()
            | do(self._night, f"group_{entity}s", inputs.Group(entity))
        )


class Embed(beam.PTransform):
    """Profile parts -> embedding parts, by Beam's RunInference; starts when the bundle is there."""

    def __init__(self, night: Night, vectors: EmbeddingSet, bundle: beam.PCollection[BundleRef]):
        super().__init__()
        self._night = night
        self._vectors = vectors
        self._bundle = bundle

    def expand(self, profiles: beam.PCollection[RangePart]) -> beam.PCollection[RangePart]:
        handler = TowerHandler(self._night, self._vectors)
        return (
            profiles
            | "AwaitModel" >> beam.Map(lambda part, _: [part], AsSingleton(self._bundle))
            | "Embed" >> RunInference(handler.with_no_batching())
        )


class TowerHandler(ModelHandler[RangePart, RangePart, embed.LazyTower]):
    """A tower as RunInference wants it: a batch is one range's profile, a prediction is its embedding part."""

    def __init__(self, night: Night, vectors: EmbeddingSet):
        super().__init__()
        self._night = night
        self._vectors = vectors

    def load_model(self) -> embed.LazyTower:
        """The tower, loaded at its first use: RunInference may ask for it before the bundle has been trained."""
        return embed.LazyTower(self._vectors.bundle, self._vectors.tower)

    def run_inference(
        self, batch: Sequence[RangePart], model: embed.LazyTower, inference_args: Mapping[str, Any] | None = None
    ) -> Iterable[RangePart]:
        """Embed the ranges of a batch."""
        for profile in batch:
            with recorded(self._night.uri, "embed"):
                result = embed.embed_range(self._night, self._vectors, profile, model)
            count("embed", result)
            yield result

    def get_num_bytes(self, batch: Sequence[RangePart]) -> int:
        """Bytes of the profiles; the default would pickle the batch to count."""
        return sum(profile.part.size_bytes for profile in batch)

    def get_metrics_namespace(self) -> str:
        """Namespace of RunInference's own metrics."""
        return f"{NAMESPACE}_{self._vectors.name}"


class Index(beam.PTransform):
    """Candidates' embedding parts -> the reference of their index (one element), built once."""

    def __init__(self, night: Night, job: TableJob, queries: beam.PCollection[RangePart]):
        super().__init__()
        self._night = night
        self._job = job
        self._queries = queries

    def expand(self, candidates: beam.PCollection[RangePart]) -> beam.PCollection[IndexRef]:
        return (
            candidates.pipeline
            | "Once" >> beam.Create([self._job])
            | do(self._night, "index", search.build_index, AsList(candidates), AsList(self._queries))
        )


class Search(beam.PTransform):
    """Queries' embedding parts -> table parts, each audited from storage as soon as it is there."""

    def __init__(
        self,
        night: Night,
        job: TableJob,
        index: beam.PCollection[IndexRef],
        candidates: beam.PCollection[RangePart],
    ):
        super().__init__()
        self._night = night
        self._job = job
        self._index = index
        self._candidates = candidates

    def expand(self, queries: beam.PCollection[RangePart]) -> beam.PCollection[PartAudit]:
        side = AsSingleton(self._index), AsList(self._candidates)
        return (
            queries
            | "Spread" >> beam.Reshuffle()
            | do(self._night, "search", search.Search(self._job), *side)
            | do(self._night, "audit", search.Audit(self._job), *side)
        )


def clean(night: Night, root: beam.Pipeline) -> beam.PCollection[tuple[Slice, Part]]:
    """Every slice of the inputs, cleaned."""
    return (
        root
        | "Slices" >> beam.Create(list(night.slices))
        | "SpreadSlices" >> beam.Reshuffle()
        | do(night, "clean", inputs.clean_slice)
    )


def cut(night: Night, cleaned: beam.PCollection[tuple[Slice, Part]]) -> beam.PCollection[Cuts]:
    """The cut points (one element), when all slices are clean."""
    return cleaned.pipeline | "OnceCut" >> beam.Create([None]) | do(night, "cut", inputs.cut_ranges, AsList(cleaned))


def fit(night: Night, cuts: beam.PCollection[Cuts]) -> beam.PCollection[BundleRef]:
    """The model bundle (one element); trained unless it is there. Waits for the cuts: bad input fails first."""
    return cuts.pipeline | "OnceTrain" >> beam.Create([None]) | do(night, "train", train.train_night, AsSingleton(cuts))


def finish(
    night: Night,
    cleaned: beam.PCollection[tuple[Slice, Part]],
    profiles: dict[str, beam.PCollection[RangePart]],
    embeddings: dict[str, beam.PCollection[RangePart]],
    indexes: dict[str, beam.PCollection[IndexRef]],
    audits: Iterable[beam.PCollection[PartAudit]],
) -> beam.PCollection[str]:
    """Audit, manifest, pointer and projection: one work item, when everything else is there."""
    root = cleaned.pipeline
    return (
        root
        | "OnceFinish" >> beam.Create([None])
        | do(
            night,
            "publish",
            publish.publish_night,
            AsList(cleaned),
            AsList(list(profiles.values()) | "AllProfiles" >> beam.Flatten()),
            AsList(list(embeddings.values()) | "AllEmbeddings" >> beam.Flatten()),
            AsList(list(indexes.values()) | "AllIndexes" >> beam.Flatten()) if indexes else (),
            AsList(list(audits) | "AllAudits" >> beam.Flatten()) if indexes else (),
        )
    )
