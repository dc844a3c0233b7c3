"""What both sides of the storage room speak of."""

from __future__ import annotations

from dataclasses import dataclass

from recbatch.errors import RecbatchError


class ContentError(RecbatchError):
    """A file is there, but its content is not what was recorded of it."""


@dataclass(frozen=True, order=True)
class StoredFile:
    """A file and its size in bytes."""

    uri: str
    size: int


@dataclass
class Created:
    """The outcome of a :func:`recbatch.storage.create` block; ``won`` is known when the block has ended."""

    won: bool = False
