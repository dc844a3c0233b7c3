"""The choice of a column for a role, and how sure it is."""

from __future__ import annotations

from dataclasses import dataclass

_CLEARLY_BETTER = 30
"""Two names that fit about equally well (``user_id`` and ``customer_id``) make the choice doubtful."""


@dataclass(frozen=True)
class Choice:
    """A column for a role.

    Attributes:
        column: its name.
        why: the reason, for a comment.
        doubtful: whether a person should look at it.
    """

    column: str
    why: str
    doubtful: bool = False


def pick(scores: dict[str, int], why: str) -> Choice | None:
    """The column with the highest score above 0, if there is one; doubtful if another one fits about as well."""
    ranked = sorted((name for name in scores if scores[name]), key=lambda name: -scores[name])
    if not ranked:
        return None
    close = [name for name in ranked[1:] if scores[name] > scores[ranked[0]] - _CLEARLY_BETTER]
    others = f"; could also be: {', '.join(ranked[1:4])}" if len(ranked) > 1 else ""
    return Choice(ranked[0], why + others, doubtful=bool(close))
