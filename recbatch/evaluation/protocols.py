"""The protocols: how a split is made, who is asked, and what may be answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from recbatch.config.nearest import closest
from recbatch.errors import InputError


@dataclass(frozen=True)
class Protocol:
    """One protocol.

    Attributes:
        letter: its name on the command line.
        name: two or three words.
        sentence: how it splits and asks, for help, tables and JSON.
        needs_times: it cannot do without timestamps.
        random: another seed gives another split.
        entity: who asks: users or items.
    """

    letter: str
    name: str
    sentence: str
    needs_times: bool
    random: bool
    entity: Literal["user", "item"] = "user"


PROTOCOLS: dict[str, Protocol] = {
    protocol.letter: protocol
    for protocol in (
        Protocol(
            "A",
            "tutorial random",
            "a random 20 % of all events are held out; every item competes, nothing is removed from the lists",
            needs_times=False,
            random=True,
        ),
        Protocol(
            "B",
            "random, seen removed",
            "the split of A; each user's training items are removed from the lists, as a night does, and a held-out "
            "repeat of a trained pair is no target",
            needs_times=False,
            random=True,
        ),
        Protocol(
            "C",
            "leave last out",
            "each user's last event in time is held out; the user's other items are removed from the lists",
            needs_times=True,
            random=False,
        ),
        Protocol(
            "D",
            "global time",
            "the newest 20 % of all events are held out; each user's training items are removed from the lists; users "
            "without training events (cold) are asked for, too",
            needs_times=True,
            random=False,
        ),
        Protocol(
            "S",
            "sequential",
            "the sequential tutorial's examples: timelines of at least 3 events, up to 10 items before it as context, "
            "the next one as label; a random 10 % of the examples are held out, nothing is removed from the lists",
            needs_times=True,
            random=True,
        ),
        Protocol(
            "U",
            "new users",
            "a random 10 % of the users are wholly out of training; a random 80 % of their events are their history "
            "when they are asked for, without retraining, and are removed from the lists; the rest are targets",
            needs_times=False,
            random=True,
        ),
        Protocol(
            "N",
            "new items",
            "a random 10 % of the items are wholly out of training; their events are targets, and the lists rank the "
            "new items only, by what their features say",
            needs_times=False,
            random=True,
        ),
        Protocol(
            "I",
            "item pairs",
            "a random 20 % of the users are wholly out of training; of each two consecutive events of theirs the first "
            "item asks for the second; every other item competes",
            needs_times=True,
            random=True,
            entity="item",
        ),
    )
}


def find_protocol(letter: str) -> Protocol:
    """The protocol of a letter, in either case.

    Raises:
        InputError: there is none; names the nearest.
    """
    found = PROTOCOLS.get(letter.upper())
    if found is not None:
        return found
    by_name = {protocol.name: protocol.letter for protocol in PROTOCOLS.values()}
    near = closest(letter, by_name)
    meant = f"did you mean {by_name[near]} ({near})?" if near else f"the protocols are {described(PROTOCOLS)}"
    raise InputError(f"--protocol: there is no protocol {letter!r}; {meant}")


def require_askers(protocol: Protocol, entity: str, model: str) -> None:
    """See that a model can be asked what a protocol asks; one of users can be asked by items, too.

    Args:
        protocol: whose queries.
        entity: what the model's query tower embeds, ``user`` or ``item``.
        model: what to call it.

    Raises:
        InputError: the model asks by items, the protocol by users.
    """
    if entity == "item" and protocol.entity == "user":
        raise InputError(f"{model} asks by items, protocol {protocol.letter} by users; evaluate it with --protocol I")


def described(letters: Sequence[str] | dict[str, Protocol]) -> str:
    """``A (tutorial random), B (random, seen removed)`` and so on."""
    return ", ".join(f"{letter} ({PROTOCOLS[letter].name})" for letter in letters)
