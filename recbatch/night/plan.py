"""A planned night: the night itself, and the lists that only some of its work items need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recbatch.interactions import ResolvedInputs, Slice
from recbatch.night.night import Night
from recbatch.night.training import TrainingJob


@dataclass(frozen=True)
class Plan:
    """What is decided before the first work item runs.

    The night alone travels with every step of a pipeline. What is here grows with the number of input files, and a
    runner bounds the size of a pipeline, so it is an element of the steps that need it.

    Attributes:
        night: the run that is to be made.
        inputs: the input files with their checksums.
        slices: the work items that read the inputs.
        training: how the night's bundle is made if it is not there; None for a bundle that was given.
        identity: what the run's name is made from, JSON-able; goes into the manifest.
    """

    night: Night
    inputs: ResolvedInputs
    slices: tuple[Slice, ...]
    training: TrainingJob | None
    identity: Mapping[str, Any]
