"""The model gate: whether the night's new bundle is worse than the last night's or than popularity, and what then.

A bundle that could be compared with nothing that there is (nothing was held out, say) has not passed either.

The verdict is a part of the run like any other: made once, put if absent. Whoever needs the night's bundle asks
:func:`recbatch.work.verdict.bundle_of`, so that all steps, workers and attempts use the one that the verdict names.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from recbatch import storage
from recbatch.config.models import Gate
from recbatch.errors import InputError, RecbatchError
from recbatch.model import Bundle, TrainingData, load_bundle
from recbatch.model.bundle import bundle_checksum
from recbatch.model.data import Prepared, prepare
from recbatch.model.gate import Answers, Questions
from recbatch.model.heldout import split_events, unseen_by
from recbatch.model.ranking import NDCG, RECALL_10, RECALL_100
from recbatch.night import BundleRef, LastNight, Night
from recbatch.work.verdict import read_verdict, used_bundle

log = logging.getLogger(__name__)

_SHOWN = {NDCG: "NDCG@10", RECALL_10: "recall@10", RECALL_100: "recall@100"}
_OLDER = "its bundle was made by an older version and keeps only towers that have seen what is held out"


def pass_gate(night: Night, load: Callable[[], TrainingData]) -> BundleRef:
    """Let the night's new bundle through, or not; returns the one to use.

    Args:
        night: its bundle is there and verified.
        load: gives the clean tables up to as-of; called if there is something to compare on them.

    Raises:
        RecbatchError: the bundle is worse, or could not be compared, and ``gate.on_failure`` is ``fail``, or ``keep``
            with nothing to keep.
    """
    if not storage.exists(night.gate_uri):
        storage.put_if_absent(night.gate_uri, json.dumps(_judge(night, load), indent=1).encode())
    verdict = read_verdict(night)
    failed = verdict["worse_than"] or verdict["unjudged"]
    for sentence in verdict["says"]:
        log.log(logging.WARNING if failed else logging.INFO, sentence)
    if failed and night.config.gate.on_failure != "warn":
        _require_way_out(night, verdict)
    used = used_bundle(night)
    if used != night.bundle:
        verified(used)
    return used


def verified(reference: BundleRef) -> Bundle:
    """A bundle that was named when the run was planned.

    Raises:
        InputError: it is not what its manifest says.
        RecbatchError: it is not the same any more.
    """
    if reference.checksum not in (None, bundle_checksum(reference.uri)):
        raise RecbatchError(
            f"the model bundle {reference.uri} was replaced during the run; start again, with one that stays as it is"
        )
    return load_bundle(reference.uri)


def _require_way_out(night: Night, verdict: Mapping[str, Any]) -> None:
    settings, found = night.config.gate, "; ".join(verdict["says"])
    if settings.on_failure == "fail":
        worse = f", and gate.tolerance ({settings.tolerance}) says what counts as worse"
        raise RecbatchError(
            f"{found}. The night of {night.ds} is not made, readers keep what they have. Look at the data and the "
            f"training; gate.on_failure: keep makes the night with the last one's model, warn with the new one all the "
            f"same{worse if verdict['worse_than'] else ''}"
        )
    if verdict["used"] == "last":
        return
    if "last" in verdict["compared"]:
        reason = f"the last night's model ({verdict['last']['ds']}) is no better than the new one"
    else:
        why = "there is no published date before" if night.last is None else night.last.obstacle
        reason = f"there is no earlier model to keep: {why}"
    raise RecbatchError(
        f"{found}. gate.on_failure is keep, but {reason}. The night of {night.ds} is not made; gate.on_failure: warn "
        f"makes it with the new model all the same"
    )


def _judge(night: Night, load: Callable[[], TrainingData]) -> dict[str, Any]:
    """The verdict, JSON-able: ``worse_than``, ``unjudged``, ``used``, all figures, and the same in sentences."""
    settings = night.config.gate
    compared, left_out = _compare(night, settings, load) if settings.worse_than else ({}, {})
    worse = [name for name in settings.worse_than if name in compared and compared[name]["worse"]]
    # Of the first night nobody can ask to be compared with the last one.
    unjudged = not compared and any(name != "last" or night.last is not None for name in left_out)
    usable = night.last is not None and night.last.obstacle is None
    # A new model that is worse than popularity, but not than the last one, is not mended by the last one.
    mended = unjudged or (bool(worse) and ("last" in worse or "last" not in compared))
    keeps = mended and settings.on_failure == "keep" and usable
    verdict = {
        "worse_than": worse,
        "unjudged": unjudged,
        "on_failure": settings.on_failure,
        "tolerance": settings.tolerance,
        "used": "last" if keeps else "new",
        "last": None if night.last is None else {"ds": night.last.ds, "bundle": _place(night, night.last.bundle)},
        "new": {"bundle": _place(night, night.bundle)},
        "compared": compared,
        "not_compared": left_out,
    }
    return {**verdict, "says": _sentences(night, verdict)}


def _compare(
    night: Night, settings: Gate, load: Callable[[], TrainingData]
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """(figures by what the new bundle is compared with, reasons by what it is not)."""
    prepared = prepare(load())
    split = split_events(night.config.model, prepared)
    questions = Questions(night.config.model, prepared, split)
    if not len(questions.places):
        return {}, dict.fromkeys(settings.worse_than, f"there is nothing to ask for: held out was {split.method}")
    new = questions.ask_bundle(load_bundle(night.bundle.uri))
    compared: dict[str, dict[str, Any]] = {}
    left_out: dict[str, str] = {}
    if "popularity" in settings.worse_than:
        compared["popularity"] = questions.compare(new, questions.ask_popularity(), settings.tolerance)
    if "last" in settings.worse_than:
        try:
            compared["last"] = _with_last(night.last, prepared, questions, new, settings.tolerance)
        except InputError as error:
            left_out["last"] = str(error)
    return compared, left_out


def _with_last(
    last: LastNight | None, prepared: Prepared, questions: Questions, new: Answers, tolerance: float
) -> dict[str, Any]:
    """Figures of the new bundle and the last night's, on what neither has seen.

    Raises:
        InputError: with the reason why they cannot be compared.
    """
    if last is None:
        raise InputError("there is no published date before")
    if last.obstacle is not None:
        raise InputError(last.obstacle)
    bundle = verified(last.bundle)
    asked, remark = None, None
    if "heldout_rule" not in bundle.manifest:
        remark = _OLDER
    else:
        asked = unseen_by(bundle.manifest, prepared)[questions.places]
        if not asked.any():
            raise InputError(
                "it was fitted to all that is held out now (another split or seed, or nothing was held out then)"
            )
        if not asked.all():
            remark = f"on {asked.sum()} of {len(asked)} held-out events, which it cannot have seen"
    answers = questions.ask_bundle(bundle)
    return {**questions.compare(new, answers, tolerance, asked), "remark": remark}


def _sentences(night: Night, verdict: Mapping[str, Any]) -> list[str]:
    names = {"popularity": "popularity's", "last": f"the last night's ({night.last.ds})" if night.last else ""}
    said = []
    for name, found in verdict["compared"].items():
        how, remark = "worse than" if found["worse"] else "not worse than", found.get("remark")
        # First the figure that decides.
        order = sorted(_SHOWN, key=lambda key: key != found["criterion"])
        new, other = ([f"{_SHOWN[key]} {found[side][key]:.4f}" for key in order] for side in ("new", "other"))
        said.append(
            f"model gate: the new model's {new[0]} is {how} {names[name]} {other[0]} ({', '.join(new[1:])} against "
            f"{', '.join(other[1:])}; {found['queries']:,} users, {found['targets']:,} held-out items"
            f"{f'; {remark}' if remark else ''})"
        )
    reasons: dict[str, list[str]] = {}
    for name, reason in verdict["not_compared"].items():
        reasons.setdefault(reason, []).append("the last night" if name == "last" else name)
    said += [f"model gate: not compared with {' or '.join(left)}: {reason}" for reason, left in reasons.items()]
    if (verdict["worse_than"] or verdict["unjudged"]) and verdict["on_failure"] == "warn":
        said.append("model gate: the new model is used all the same (gate.on_failure: warn)")
    if verdict["used"] == "last" and night.last is not None:
        said.append(f"model gate: the tables are made with the model of {night.last.ds} (gate.on_failure: keep)")
    return said


def _place(night: Night, reference: BundleRef) -> str:
    """Its URI; relative to the output if it lies there."""
    return reference.uri.removeprefix(f"{night.output}/")
