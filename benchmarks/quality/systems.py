"""Our models: which configuration stands for which row of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks.quality.datasets import BY_TITLE, IDS_ONLY, LARGE, READING, SMALL, SPARSE

WHOLE = ("model.training.heldout.share=0.001", "model.training.refit=false")
"""For models that are trained for a fixed number of epochs: one fit, to all training events of the split but one in a
thousand, where a night would hold out the configuration's share, fit, and fit again for as many steps."""


@dataclass(frozen=True)
class System:
    """A two-tower model.

    Attributes:
        label: its name on the page.
        config: its configuration, from the root of the checkout.
        protocols: where it takes part.
        dataset: what it is trained on.
        overrides: keys that this measurement sets.
        repeats: splits or seeds; None: as many as the protocol has.
        quick: whether it takes part with QUICK=1.
        long: whether it trains so long that it comes last.
        program: whether it is trained by the tutorial's own program, see :mod:`.tutorial`, to be compared with ours.
    """

    label: str
    config: str
    protocols: str
    dataset: str = SMALL
    overrides: Sequence[str] = ()
    repeats: int | None = None
    quick: bool = True
    long: bool = False
    program: bool = False


@dataclass(frozen=True)
class Published:
    """What somebody printed about a model.

    Attributes:
        figures: metric -> value.
        where: who printed it.
        tolerance: how far our mean may be off.
        note: what a reader must know.
        program: the system that is the tutorial's own program: where ours is better and that is, too, on the same
            splits, the splits are the reason.
    """

    figures: Mapping[str, float]
    where: str
    tolerance: float = 0.01
    note: str = ""
    program: str | None = None


_DEEP_EPOCHS = "model.training.epochs=300"


def _deep(*before_last: int) -> System:
    """The deep tutorial's towers: the widths before the last one, which is the projection. 300 epochs, one seed."""
    widths = f"[{', '.join(map(str, before_last))}]"
    return System(
        f"deep tutorial, {[*before_last, 32]}",
        "configs/movielens-100k-deep.yaml",
        "A",
        overrides=(*WHOLE, f"model.query.layers={widths}", f"model.candidate.layers={widths}", _DEEP_EPOCHS),
        repeats=1,
        quick=False,
        long=True,
    )


_CONTEXT = System(
    "context tutorial, with timestamps", "configs/movielens-100k-context.yaml", "A", overrides=WHOLE, repeats=3
)
_CONTEXT_WITHOUT = replace(
    _CONTEXT,
    label="context tutorial, without timestamps",
    overrides=(*WHOLE, "model.query.features=[{kind: id, dim: 32}]"),
)

SYSTEMS: dict[str, System] = {
    "default": System("recbatch, the shipped default", READING, "ABCDU", overrides=BY_TITLE),
    "default-1m": System("recbatch, the shipped default", READING, "BC", LARGE, quick=False),
    "default-sparse": System("recbatch, the shipped default", IDS_ONLY, "B", SPARSE, quick=False),
    "next-1m": System(
        "recbatch, C's own configuration, 3 epochs",
        "configs/movielens-100k-next.yaml",
        "C",
        LARGE,
        (*WHOLE, "model.training.epochs=3"),
        quick=False,
    ),
    "margin": System("recbatch, A's own configuration", "configs/quality/movielens-100k-unseen.yaml", "AB"),
    "larger-margin": System(
        "recbatch, A's own configuration with a margin of 4",
        "configs/quality/movielens-100k-unseen.yaml",
        "AB",
        overrides=("model.training.shown_margin=4",),
        repeats=1,
        quick=False,
    ),
    "next": System(
        "recbatch, C's own configuration", "configs/movielens-100k-next.yaml", "C", overrides=(*BY_TITLE, *WHOLE)
    ),
    "future": System("recbatch, D's own configuration", "configs/movielens-100k-future.yaml", "D", overrides=BY_TITLE),
    "features": System("recbatch, feature towers", "configs/movielens-100k-features.yaml", "UN", overrides=BY_TITLE),
    "sequence": System(
        "recbatch, S's own configuration",
        "configs/movielens-1m-sequential.yaml",
        "S",
        LARGE,
        WHOLE,
        quick=False,
    ),
    "items": System("recbatch, item-to-item towers", "configs/movielens-100k-item2item.yaml", "I", overrides=BY_TITLE),
    "items-of-default": System("recbatch, item2item of the default", READING, "I", overrides=BY_TITLE),
    "basic": System("basic retrieval tutorial", "configs/movielens-100k-basic.yaml", "AB", overrides=WHOLE, repeats=3),
    "context-without": _CONTEXT_WITHOUT,
    "context": _CONTEXT,
    "context-without-program": replace(_CONTEXT_WITHOUT, label="the tutorial's own program", program=True),
    "context-program": replace(_CONTEXT, label="the tutorial's own program", program=True),
    "deep-32": _deep(),
    "deep-64-32": _deep(64),
    "deep-128-64-32": _deep(128, 64),
    "article": System(
        "the article's model, dense [32], 5 epochs", "configs/movielens-100k-deep.yaml", "A", overrides=WHOLE, repeats=3
    ),
    "gru": System("sequential tutorial, GRU", "configs/movielens-1m-gru.yaml", "S", LARGE, WHOLE, quick=False),
}
"""Variants of the default and of A's, C's, D's and S's own configurations were compared on validation data, see
:mod:`.choosing` and its logs; of those for U, N and I there is no such log."""

_LOOKS_AHEAD = "a random split lets the time feature see the future of what it is measured on"

PUBLISHED: dict[str, Published] = {
    "basic": Published({"hit@10": 0.021, "hit@100": 0.233}, "TFRS, basic retrieval"),
    "context-without": Published({"hit@100": 0.2126}, "TFRS, context features", program="context-without-program"),
    "context": Published({"hit@100": 0.2468}, "TFRS, context features", note=_LOOKS_AHEAD, program="context-program"),
    "deep-32": Published({"hit@100": 0.27}, "TFRS, deep retrieval models", note="300 epochs, one seed"),
    "deep-64-32": Published({"hit@100": 0.29}, "TFRS, deep retrieval models", note="300 epochs, one seed"),
    "deep-128-64-32": Published(
        {}, "TFRS, deep retrieval models", note="300 epochs, one seed; it is said to be no better than the shallow one"
    ),
    "article": Published({}, "ZOZO's article", note="it prints no figure"),
    "gru": Published({"hit@10": 0.1358, "hit@100": 0.5058}, "TFRS, sequential retrieval", tolerance=0.015),
}
"""The figures that the tutorials print about their own models."""


@dataclass(frozen=True)
class Table:
    """A table of the page: a protocol on a dataset, and our models in it, in this order."""

    dataset: str
    protocol: str
    systems: Sequence[str]


TABLES: tuple[Table, ...] = (
    Table(SMALL, "B", ("default", "basic", "margin", "larger-margin")),
    Table(SMALL, "A", ("default", "margin", "larger-margin", "basic")),
    Table(SMALL, "C", ("default", "next")),
    Table(SMALL, "D", ("default", "future")),
    Table(LARGE, "B", ("default-1m",)),
    Table(LARGE, "C", ("default-1m", "next-1m")),
    Table(LARGE, "S", ("sequence", "gru")),
    Table(SPARSE, "B", ("default-sparse",)),
    Table(SMALL, "U", ("default", "features")),
    Table(SMALL, "N", ("features",)),
    Table(SMALL, "I", ("items", "items-of-default")),
)
"""The tables of the page, the decisive one first. The peers of :mod:`.peers` join the table of their protocol."""
