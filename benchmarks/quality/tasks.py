"""What is asked: a protocol's split, and the validation data inside of its training data."""

from __future__ import annotations

from collections.abc import Iterable

from recbatch.config.models import Config
from recbatch.evaluation import HELDOUT_SHARE, Task, make_task
from recbatch.model import TrainingData


def two_tower_task(protocol: str, config: Config, data: TrainingData, seed: int) -> Task:
    """The protocol's split ``seed``, asked as the configured model wants it."""
    return make_task(protocol, data, seed, per_event=_per_event(protocol, config))


def validation_tasks(
    protocol: str,
    data: TrainingData,
    seed: int,
    inner_seeds: Iterable[int],
    *,
    config: Config | None = None,
    share: float = HELDOUT_SHARE,
) -> list[Task]:
    """The protocol once more, inside of the training data of its split ``seed``: blind to that split's test events.

    Args:
        protocol: its letter.
        data: all of it.
        seed: of the split that is left alone.
        inner_seeds: one task for each. In S they must differ from ``seed``: its held-out labels stay in the timelines
            as history, and the same seed would draw the very same ones once more.
        config: of the two-tower model that will be asked; None: another's.
        share: of the events that are held out, in A, B and D.
    """
    outer = make_task(protocol, data, seed)
    per_event = config is not None and _per_event(protocol, config)
    return [make_task(protocol, outer.train, inner, per_event=per_event, share=share) for inner in inner_seeds]


def _per_event(protocol: str, config: Config) -> bool:
    """Whether the model's answer depends on the time or another context of the event, so each is asked by itself."""
    from recbatch.evaluation import varies_by_event  # TensorFlow, which a peer's cell does without

    return protocol == "A" and varies_by_event(config.model, config.inputs.interactions.context)
