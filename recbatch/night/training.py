"""A training as a work item: everything that a worker needs to make one bundle."""

from __future__ import annotations

from dataclasses import dataclass

from recbatch.config.models import Model
from recbatch.interactions import ReadSpec, ResolvedInputs
from recbatch.night.jobs import BundleRef


@dataclass(frozen=True)
class TrainingJob:
    """One bundle to be made.

    Attributes:
        model: the towers and how they are fitted.
        inputs: the input files with their checksums.
        spec: how their rows are read and cleaned.
        slice_rows: input rows read at once.
        as_of_us: events before it count, microseconds since the epoch; None: all.
        name: fingerprint of all of this.
        target: URI of the bundle's folder.
        warm_start: the bundle whose weights the fit begins with; None: it starts cold.
    """

    model: Model
    inputs: ResolvedInputs
    spec: ReadSpec
    slice_rows: int
    as_of_us: int | None
    name: str
    target: str
    warm_start: BundleRef | None = None

    @property
    def state_uri(self) -> str:
        """A folder beside the bundle for what is not part of it: checkpoints, logs, failures."""
        return f"{self.target}.training"
