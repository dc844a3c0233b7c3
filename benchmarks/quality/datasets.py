"""The datasets of the page: what they are called, and how they are read and used. :mod:`.sources` fetches them."""

from __future__ import annotations

from dataclasses import dataclass

BY_TITLE = ("inputs.interactions.columns.item_id=title", "inputs.items.id=title", "inputs.items.label=title")
"""MovieLens 100K told apart by title: 1,664 candidates, as in the tutorials."""

READING = "configs/movielens-100k.yaml"
IDS_ONLY = "configs/quality/ids-only.yaml"

SMALL, LARGE, SPARSE = "movielens-100k", "movielens-1m", "sparse"


@dataclass(frozen=True)
class Dataset:
    """A dataset.

    Attributes:
        label: its name on the page.
        reading: the configuration whose inputs the peers' data is read with: that of the default model.
        overrides: ``key=value`` for it.
        inner_splits: whether a peer's trial is scored on as many inner splits as the protocol wants; else on one.
        most_repeats: at most so many splits or seeds; None: as many as the protocol has.
    """

    label: str
    reading: str = READING
    overrides: tuple[str, ...] = ()
    inner_splits: bool = False
    most_repeats: int | None = None

    def repeats(self, wanted: int) -> int:
        """Splits or seeds where the protocol has ``wanted``."""
        return wanted if self.most_repeats is None else min(wanted, self.most_repeats)


DATASETS = {
    SMALL: Dataset("MovieLens 100K", overrides=BY_TITLE, inner_splits=True),
    LARGE: Dataset("MovieLens 1M"),
    SPARSE: Dataset("a sparse world", reading=IDS_ONLY, most_repeats=3),  # it stands for nobody's data
}
