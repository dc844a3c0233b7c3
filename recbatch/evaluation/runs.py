"""A model and the baselines on the splits of one protocol."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from recbatch.config.models import Model
from recbatch.evaluation.baselines import BASELINES
from recbatch.evaluation.making import make_task
from recbatch.evaluation.protocols import PROTOCOLS, Protocol, require_askers
from recbatch.evaluation.results import Result, compare_all, evaluate_lists, pool
from recbatch.evaluation.task import Lists, Task
from recbatch.model import Bundle, TrainingData, load_bundle, train_bundle

_log = logging.getLogger(__name__)

MODEL = "model"
_BASELINES = ("popularity", "recent popularity")
_COMPARED = ("hit@10", "hit@100", "recall@100", "ndcg@10")

Saw = bool | Literal["unknown"]


@dataclass(frozen=True)
class Subject:
    """What is evaluated.

    Attributes:
        model: the towers and how they are fitted.
        context: the config's ``inputs.interactions.context``.
        work: a local folder for the bundles that are trained.
        given: a bundle that is measured as it is; None: one is trained on every split's training events.
    """

    model: Model
    context: Sequence[str]
    work: Path
    given: Bundle | None = None

    def bundle(self, task: Task, number: int) -> Bundle:
        """The bundle for the ``number``-th split, whose training starts ``number`` seeds further on.

        A and B with the same seed have the same training events, so one bundle serves both.
        """
        if self.given is not None:
            return self.given
        key = "random" if task.protocol in "AB" else task.protocol
        name = f"{key}-{task.seed}-{number}"
        seed = self.model.training.seed + number
        model = self.model.model_copy(update={"training": self.model.training.model_copy(update={"seed": seed})})
        uri = str(self.work / name)
        train_bundle(
            model,
            task.train,
            uri,
            work_folder=f"{uri}.training",
            as_of_us=None,
            fingerprint=name,
            retriever=False,
        )
        return load_bundle(uri)

    def cut_us(self, protocol: Protocol, data: TrainingData) -> int | None:
        """Where a global time split is cut so that a given bundle has not seen what is behind it; None: anywhere."""
        last = None if self.given is None else self.given.manifest["last_event_us"]
        if protocol.letter != "D" or last is None or "timestamp" not in data.interactions.column_names:
            return None
        positives = data.interactions.filter(data.interactions["positive"])
        times = positives["timestamp"].cast("int64").to_numpy()
        return last if times.max(initial=last) > last else None

    def saw_heldout(self, task: Task) -> Saw:
        """Whether the bundle was trained on what is held out, as far as its manifest tells."""
        if self.given is None:
            return False
        last = self.given.manifest["last_event_us"]
        if last is None or task.first_heldout_us is None:
            return "unknown"
        return bool(last >= task.first_heldout_us)


@dataclass
class Report:
    """One protocol's outcome.

    Attributes:
        protocol: which.
        per_event: one query per held-out event instead of one per user.
        splits: of each split its seed, counts, and what the model knew and took.
        systems: name -> result over all splits.
        differences: baseline -> metric -> model less baseline.
        saw_heldout: whether the model was trained on what is held out.
    """

    protocol: Protocol
    per_event: bool
    splits: list[dict[str, Any]] = field(default_factory=list)
    systems: dict[str, Result] = field(default_factory=dict)
    differences: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    saw_heldout: Saw = False

    def as_json(self) -> dict[str, Any]:
        """Everything, JSON-able."""
        return {
            "name": self.protocol.name,
            "sentence": self.protocol.sentence,
            "queries": "one per held-out event" if self.per_event else "one per user",
            "saw_heldout": self.saw_heldout,
            "seeds": [split["seed"] for split in self.splits],
            "splits": self.splits,
            "systems": {name: result.as_json() for name, result in self.systems.items()},
            "differences": self.differences,
        }


def run_protocol(letter: str, data: TrainingData, subject: Subject, seeds: Sequence[int]) -> Report:
    """Evaluate on one split per seed, and over all of them.

    A protocol whose split does not depend on the seed is split once per seed all the same, for the seed starts the
    training elsewhere; a given bundle is then measured once.

    Raises:
        InputError: see :func:`recbatch.evaluation.make_task`, or the model asks by items and the protocol by users.
        RecbatchError: the training failed.
    """
    from recbatch.evaluation.two_towers import varies_by_event

    protocol = PROTOCOLS[letter]
    require_askers(protocol, subject.model.query_entity, "the model")
    per_event = letter == "A" and varies_by_event(subject.model, list(subject.context))
    if subject.given is not None and not protocol.random:
        seeds = seeds[:1]
    report = Report(protocol, per_event)
    results: dict[str, list[Result]] = {}
    for number, seed in enumerate(seeds):
        task = make_task(letter, data, seed, per_event=per_event, cut_us=subject.cut_us(protocol, data))
        _log.info(
            "%s, split %d of %d: %s events to learn from, %s targets, %s queries, %s candidates",
            letter,
            number + 1,
            len(seeds),
            *(f"{task.counts[name]:,}" for name in ("training_events", "targets", "queries", "candidates")),
        )
        facts: dict[str, Any] = {"seed": seed, "counts": task.counts}
        for name, lists in _lists(task, subject, number, facts):
            results.setdefault(name, []).append(evaluate_lists(task, lists, repetitions=0))
        report.splits.append(facts)
        report.saw_heldout = report.saw_heldout or subject.saw_heldout(task)
    _log.info("%s: resampling users", letter)
    report.systems = {name: pool(found) for name, found in results.items()}
    for name, result in report.systems.items():
        if name != MODEL:
            found = compare_all(report.systems[MODEL], result, _COMPARED)
            report.differences[name] = {metric: asdict(difference) for metric, difference in found.items()}
    return report


def _lists(task: Task, subject: Subject, number: int, facts: dict[str, Any]) -> Iterator[tuple[str, Lists]]:
    """(system, its lists); ``facts`` gets what is to be known of the model."""
    from recbatch.evaluation.two_towers import embed_task, rank_embedded

    started = time.monotonic()
    bundle = subject.bundle(task, number)
    trained = time.monotonic()
    embedded = embed_task(task, bundle)
    lists = rank_embedded(task, embedded)
    known = embedded.known_candidates
    if not known.any():
        _log.warning("%s: the model knows none of the candidates, so its lists are empty", task.protocol)
    facts["model"] = {
        "steps": bundle.manifest["steps"],
        "unknown_queries": int((~embedded.known_queries).sum()),
        "unknown_candidates": int((~known).sum()),
        "targets_that_are_unknown_candidates": int((~known[task.target_item[task.target_item >= 0]]).sum()),
        "heldout_metrics": bundle.manifest["metrics"],
    }
    facts["seconds"] = {
        "training": round(trained - started, 2) if subject.given is None else 0.0,
        "embedding_and_ranking": round(time.monotonic() - trained, 2),
    }
    yield MODEL, lists
    for name in _BASELINES:
        baseline: Callable[[Task], Lists | None] = BASELINES[name]
        found = baseline(task)
        if found is not None:
            yield name, found
