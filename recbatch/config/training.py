"""How towers are fitted, and what is solved beside them: part of :mod:`recbatch.config.models`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from recbatch.config.sections import Section


class Heldout(Section):
    """The events kept from the first fit to measure it."""

    split: Literal["time", "random"] = "time"
    """The newest events, or a random share of every user's (always so without timestamps)."""
    share: float = Field(0.1, gt=0, lt=1)
    """Share of the positives that is kept."""


class EarlyStopping(Section):
    """Stop when the held-out measure has been worse than its best for a while; keep the last step as good as it."""

    patience: int = Field(3, gt=0)
    """Worse evaluations, one after the other, before the fit stops."""
    every_epochs: int = Field(1, gt=0)
    """Epochs between two evaluations, at least."""
    every_steps: int = Field(1, gt=0)
    """Steps between two evaluations, at least; each is at the end of an epoch."""
    tolerance: float = Field(0.01, ge=0, lt=1)
    """An evaluation within this share of the best is as good: small held-out splits rise and fall by chance, and of
    equally good steps the last one is kept."""
    metric: Literal["recall_at_100", "recall_at_10", "ndcg_at_10"] = "recall_at_100"
    """Held-out measure that has to rise; under 1,000 items recall@10 stands for recall@100."""


class Training(Section):
    """How the towers are fitted. Steps and metrics come from a fit without the held-out events; see `refit`."""

    optimizer: Literal["adagrad", "adam"] = "adam"
    """The rule by which the weights move."""
    learning_rate: float = Field(0.003, gt=0)
    """How far they move in a step."""
    batch_size: int = Field(1024, gt=0)
    """Positives in a step; users, where one query stands for a whole user (see `negatives`)."""
    epochs: int = Field(10, gt=0)
    """Passes over all positives, at most (see `early_stopping`)."""
    min_steps: int = Field(1, gt=0)
    """As many epochs as so many steps need, where `epochs` are fewer: what a small dataset needs, too."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Whether the learning rate stays, or falls to zero along half a cosine over all `epochs` (in the `refit` over the
    steps that it does)."""
    final_temperature: Annotated[float, Field(gt=0)] | Literal["auto"] | None = None
    """The softmax's temperature after the last of all `epochs` (or `min_steps`). It goes there from
    `model.temperature`, in proportion to the learning rate spent so far. A fit that stops early has that of the step
    whose weights it keeps, and its `refit` ends at the same. `null`: it stays. `auto`: it stays up to 1,700 items with
    positives and falls the lower the more there are, to 0.4 times it at most (see docs/models.md)."""
    negatives: Literal["auto", "full", "mixed", "in_batch"] = "auto"
    """What a positive has to win against: all items (`full`), the batch's items and a uniform
    sample (`mixed`), or the batch's alone (`in_batch`). `auto`: `full` up to 50,000 items, else `mixed`. With `full`
    and `mixed` one query stands for a whole user where the query tower lets it: a random share of the user's
    positives is shown (see the history's `dropout`), the rest are its targets."""
    sampled_negatives: int = Field(8192, gt=0)
    """Size of the uniform sample with `negatives: mixed`."""
    hard_negatives: int | None = Field(None, gt=0)
    """Only so many negatives of each query count, those that score highest; `null`: all."""
    shown_margin: float | None = None
    """`null`: what a query is shown does not compete with its targets, as it is not recommended either. A number: it
    does, with so much added to its scores; good only where what was seen is not removed. With `in_batch` nothing is
    added, whatever the number."""
    user_weight: Literal["events", "sqrt", "equal"] = "sqrt"
    """How much a user with n positives counts: as n, as the square root of n, or as any other user."""
    half_life_days: float | None = Field(None, gt=0)
    """After so many days a positive counts half as much as a target. `null`, and without timestamps: all the same."""
    logq: bool = True
    """Correct the softmax of `mixed` and `in_batch` negatives by the items' sampling probability (Yi et al., RecSys
    2019)."""
    remove_accidental_hits: bool = False
    """Do not count another row's item as a negative where it is the row's own item. With `in_batch`; elsewhere an item
    is a candidate only once."""
    heldout: Heldout = Heldout()
    early_stopping: EarlyStopping | None = EarlyStopping()
    """`null` switches early stopping off."""
    refit: bool = True
    """Export a model fitted for the same number of steps on all positives up to as-of."""
    warm_start: bool = False
    """Begin with the weights of the last night's model, as far as it knows the same ids and values. A night without an
    earlier one starts cold; `recbatch train` takes the model from `--warm-start`."""
    seed: int = Field(42, ge=0)
    """Where the random numbers start: the same seed and data give the same model."""


class LinearHead(Section):
    """A linear item-to-item model (EASE: Steck, WWW 2019) of low rank beside the towers: it knows which items go
    together, where the towers know what users are like. It is solved, not trained."""

    rank: int = Field(128, gt=0)
    """Coordinates that it adds to the embeddings, at most: those that say most about the training users' scores."""
    regularizations: list[Annotated[float, Field(gt=0)]] = Field([500.0, 100.0], min_length=1)
    """Lambdas of the ridge regression, counted in users: the greater it is, the less a few users who took the same two
    items say. Each is solved for, and the one that ranks the held-out events best is taken."""
    most_items: int = Field(10_000, gt=1)
    """It is solved for so many of the most popular items, in time that grows with the cube of it and memory that grows
    with the square. The others are scored by a regression on what these say of a user."""
    shares: list[Annotated[float, Field(gt=0)]] = [0.0625, 0.125, 0.25, 0.5, 1.0]
    """How much its scores may count, as a share of how far the towers' scores spread; the one that ranks the held-out
    events best is taken, or none of them if the towers alone rank better."""
