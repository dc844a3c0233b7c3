"""Work items in Beam's DoFns: one per element, failures written down, what was made counted."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.transforms.window import GlobalWindows
from apache_beam.typehints.decorators import IOTypeHints

from recbatch.night import Night
from recbatch.run import recorded
from recbatch.work.items import RangePart, ShardPart, SlicePart

NAMESPACE = "recbatch"

_AT_ONCE = 2
"""Work items of a step that a process has in hand at a time."""


class Do(beam.DoFn):
    """Runs one work item per element: ``work(element, *side_inputs)``.

    A failure is written into ``folder`` before the runner sees it. Counters tell how many parts were made and how many
    were found from an earlier attempt.
    """

    def __init__(self, folder: str, step: str, work: Callable[..., Any]):
        self._folder = folder
        self._step = step
        self._work = work

    def default_type_hints(self) -> IOTypeHints:
        """None: Beam would take the annotation of ``*side`` for the type of a single side input."""
        return IOTypeHints.empty()

    def process(self, element: Any, *side: Any) -> Iterator[Any]:
        result = self._run(element, *side)
        count(self._step, result)
        yield result

    def _run(self, element: Any, *side: Any) -> Any:
        with recorded(self._folder, self._step):
            return self._work(element, *side)


class DoTwo(Do):
    """As :class:`Do`, with two work items at a time, on any runner: while one reads or writes, the other computes.

    An element's result is handed on when the next but one arrives, or the bundle ends.
    """

    def setup(self) -> None:
        self._pool = ThreadPoolExecutor(_AT_ONCE)

    def start_bundle(self) -> None:
        self._running: deque[Future[Any]] = deque()

    def process(self, element: Any, *side: Any) -> Iterator[Any]:
        self._running.append(self._pool.submit(self._run, element, *side))
        if len(self._running) == _AT_ONCE:
            yield self._oldest()

    def finish_bundle(self) -> Iterator[Any]:
        while self._running:
            yield GlobalWindows.windowed_value(self._oldest())

    def teardown(self) -> None:
        self._pool.shutdown()

    def _oldest(self) -> Any:
        try:
            result = self._running.popleft().result()
        except Exception:
            wait(self._running)  # nothing goes on behind the back of whoever handles the failure
            raise
        count(self._step, result)
        return result


def count(step: str, result: Any) -> None:
    """Count a finished work item on its edge, and the indexes that its process loaded for it."""
    for table in getattr(result, "loaded", ()):
        Metrics.counter(NAMESPACE, f"index_loads_{table}").inc()
    part = result.part if isinstance(result, SlicePart | RangePart | ShardPart) else None
    if part is not None:
        Metrics.counter(NAMESPACE, f"{step}_parts_{'made' if part.made else 'found'}").inc()
        Metrics.counter(NAMESPACE, f"{step}_rows").inc(part.rows)
        Metrics.distribution(NAMESPACE, f"{step}_part_bytes").update(part.size_bytes)
    else:
        Metrics.counter(NAMESPACE, f"{step}_items").inc()


def do(night: Night, step: str, work: Callable[..., Any], *side: Any, kind: type[Do] = DoTwo) -> beam.PTransform:
    """One work item of a night per element, ``work(night, element, *side_inputs)``; named by the step."""
    return step >> beam.ParDo(kind(night.uri, step, functools.partial(work, night)), *side)


def once(root: beam.Pipeline, night: Night, step: str, work: Callable[..., Any], *side: Any) -> beam.PCollection[Any]:
    """A single work item of a night, ``work(night, None, *side_inputs)``; starts when its side inputs are there."""
    return root | f"Once {step}" >> beam.Create([None]) | do(night, step, work, *side, kind=Do)
