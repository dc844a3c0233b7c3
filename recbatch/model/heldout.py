"""Which positives a fit is measured by, chosen so that a later night can tell what a bundle has never seen."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recbatch.config.models import Model
from recbatch.model.columns import one_array
from recbatch.model.data import Events, Prepared
from recbatch.splits import heldout_by_hash, heldout_by_time, mixed

_log = logging.getLogger(__name__)
_IDS = 1 << 16  # hashed at once: several arrays of eight bytes per character of an id are made meanwhile
_PRIME = np.uint64(0x100000001B3)


@dataclass(frozen=True)
class Split:
    """Which events are held out.

    Attributes:
        heldout: [n] bool.
        method: in words how they were chosen (or why there are none).
        rule: the same for programs, JSON-able, for :func:`unseen_by`: ``{split: newest, from_us}`` or ``{split: random,
            share, seed}``; None where nothing is held out.
    """

    heldout: NDArray[np.bool_]
    method: str
    rule: dict[str, Any] | None


def split_events(model: Model, prepared: Prepared) -> Split:
    """Which positives the first fit does not see: a share of those that are targets."""
    settings, events = model.training.heldout, prepared.events
    rule: dict[str, Any]
    if settings.split == "time" and events.times_us is not None:
        asked, mask, method = _asked(events), np.zeros(len(events), bool), "newest"
        mask[asked] = heldout_by_time(events.times_us[asked], settings.share)
        rule = {"split": "newest", "from_us": int(events.times_us[mask].min()) if mask.any() else None}
    else:
        mask, method = _random(prepared, settings.share, model.training.seed), "random per user"
        rule = {"split": "random", "share": settings.share, "seed": model.training.seed}
        if settings.split == "time":
            method += ", for the interactions have no timestamps"
    if not mask.any():
        method = f"nothing ({method}: {len(events)} positives cannot be split so that some of each side remain)"
        _log.warning("nothing is held out, so there are no held-out metrics and every epoch is run: %s", method)
        return Split(mask, method, None)
    return Split(mask, method, rule)


def unseen_by(manifest: Mapping[str, Any], prepared: Prepared) -> NDArray[np.bool_]:
    """Mask [n] of the positives that the measured towers of a bundle cannot have been fitted to.

    They are the events after its newest one, and those of the older that its own rule held out. Without timestamps new
    events cannot be told from old ones, and only the latter count.

    Args:
        manifest: the bundle's; one with ``heldout_rule``.
        prepared: the positives of a later night, in which those of the bundle's night are expected again.
    """
    rule, last, times = manifest["heldout_rule"], manifest["last_event_us"], prepared.events.times_us
    newer = np.zeros(len(prepared.events), bool) if times is None or last is None else times > last
    if rule is None:
        return newer
    if rule["split"] == "newest":
        return newer if times is None else newer | (times >= rule["from_us"])
    unseen = newer.copy()
    then = Prepared(prepared.users, prepared.items, prepared.events.select(~newer))
    unseen[~newer] = _random(then, rule["share"], rule["seed"])
    return unseen


def _random(prepared: Prepared, share: float, seed: int) -> NDArray[np.bool_]:
    """Mask [n] of a share of every user's items: all events of a user with one item are held out, or none.

    Pairs of items are held out by the user whose they are, all or none: what was taken together is common to many.
    """
    asked = _asked(prepared.events)
    events, mask = prepared.events.select(asked), np.zeros(len(prepared.events), bool)
    if events.owners is not None:
        mask[asked] = heldout_by_hash(np.zeros(len(events), np.int32), events.owners, share, seed)
    else:
        users, items = id_hashes(prepared.users["id"]), id_hashes(prepared.items["id"])
        names = mixed(mixed(users)[events.users] + items[events.items])
        mask[asked] = heldout_by_hash(events.users, names, share, seed)
    return mask


def _asked(events: Events) -> NDArray[np.bool_]:
    """Mask [n] of the events that may be targets; the others are only history."""
    return np.ones(len(events), bool) if events.targets is None else events.targets


def id_hashes(ids: pa.Array | pa.ChunkedArray) -> NDArray[np.uint64]:
    """A number for each id [n], the same on every machine: a polynomial of its UTF-8 bytes modulo 2^64, then mixed."""
    array = one_array(ids).cast(pa.large_binary())
    hashes = np.empty(len(array), np.uint64)
    for start in range(0, len(array), _IDS):
        part = array.slice(start, _IDS)
        offsets = np.frombuffer(part.buffers()[1], np.int64)[part.offset : part.offset + len(part) + 1]
        lengths = np.diff(offsets)
        values = np.frombuffer(part.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]]
        places = np.arange(len(values)) - np.repeat(offsets[:-1] - offsets[0], lengths)
        powers = np.cumprod(np.full(int(lengths.max(initial=0)) + 1, _PRIME))
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum((values + np.uint64(1)) * powers[places])])
        ends = offsets - offsets[0]
        hashes[start : start + len(part)] = sums[ends[1:]] - sums[ends[:-1]]
    return mixed(hashes)
