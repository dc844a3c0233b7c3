"""A search space as people write it: YAML, ``{key: {low, high, log}}`` or ``{key: [choices]}``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from recbatch.config.document import Document, parse
from recbatch.config.explain import show
from recbatch.config.keys import alternatives, bare, below, describe, key_of
from recbatch.config.load import read_text, resolve
from recbatch.config.models import Config
from recbatch.config.nearest import closest
from recbatch.config.overrides import override
from recbatch.errors import ConfigError
from recbatch.tuning.space import Choices, Parameter, Range, Space, override_words

_ENTRIES = ("low", "high", "log")
_SECTION = "model"
_MEASURE = "it decides what is held out, which has to be the same for all trials"
_UNSEEN = "it makes no difference to what is measured on the held-out events"
_REFUSED = {
    "model.training.heldout": _MEASURE,
    "model.training.seed": _MEASURE,
    "model.pairs": _MEASURE,
    "model.training.refit": _UNSEEN,
    "model.training.warm_start": _UNSEEN,
    "model.retriever": _UNSEEN,
}


def read_space(uri: str, base: Document) -> Space:
    """Read a space and check every value in it against the configuration.

    Args:
        uri: a YAML file, local or ``gs://``. Keys are those of ``--set``; several with commas between them all get the
            same value.
        base: the configuration that the search starts from.

    Raises:
        ConfigError: with everything that is wrong, one line each: place, key, value, what is allowed, what was meant.
    """
    document = parse(read_text(uri), uri)
    if not isinstance(document.values, dict) or not document.values:
        raise ConfigError(
            f"{document.place(())}: a search space is a mapping such as model.dim: [32, 64] or "
            f"model.training.learning_rate: {{low: 0.001, high: 0.03, log: true}}, not {show(document.values)}"
        )
    space: list[Parameter] = []
    wrong: list[str] = []
    taken: dict[str, str] = {}
    for name, written in document.values.items():
        place = document.place((name,))
        keys = tuple(key.strip() for key in name.split(","))
        try:
            for key in keys:
                _require_measured(key, place)
                _require_free(key, place, taken)
            space.append(_parameter(keys, written, place, base))
        except ConfigError as error:
            wrong.append(str(error))
    if wrong:
        several = [f"{len(wrong)} mistakes in the search space:", *wrong]
        raise ConfigError(wrong[0] if len(wrong) == 1 else "\n  ".join(several))
    return tuple(space)


def checked(parameter: Parameter, base: Document, place: str) -> list[Config]:
    """The configurations with only this parameter changed, to each of its choices or to both of its ends.

    Raises:
        ConfigError: one of them is not valid.
    """
    name = ", ".join(parameter.keys)
    found = []
    for value in parameter.values if isinstance(parameter, Choices) else (parameter.low, parameter.high):
        try:
            found.append(resolve(override(base, override_words({name: value}), place)).config)
        except ConfigError as error:
            if str(error).startswith(place):
                raise
            raise ConfigError(
                f"{place}: with {name} {show(value)} the configuration contradicts itself: {error} (keys that have to "
                f"change together are written as one, with commas between them)"
            ) from None
    return found


def _require_measured(key: str, place: str) -> None:
    if "." in key and key.partition(".")[0] != _SECTION and key.partition(".")[0] in Config.model_fields:
        raise ConfigError(
            f"{place}: {key} is not a setting of the model; a search may change keys below model, the others decide "
            f"what the data and the tables are"
        )
    for refused, why in _REFUSED.items():
        if key == refused or key.startswith(f"{refused}."):
            raise ConfigError(f"{place}: {key} cannot be searched: {why}; remove it, and set it in the configuration")
        if refused.startswith(f"{key}."):
            raise ConfigError(f"{place}: {key} holds {refused}, which cannot be searched; name the keys below it")


def _require_free(key: str, place: str, taken: dict[str, str]) -> None:
    clash = next((o for o in taken if o == key or o.startswith(f"{key}.") or key.startswith(f"{o}.")), None)
    if clash is not None:
        other = "" if clash == key else f" as {clash}, a part of the same"
        raise ConfigError(f"{place}: {key} is in the space already{other}, at {taken[clash]}; remove one of them")
    taken[key] = place


def _parameter(keys: tuple[str, ...], written: Any, place: str, base: Document) -> Parameter:
    name = ", ".join(keys)
    parameter: Parameter
    if isinstance(written, list):
        parameter = _choices(keys, written, place)
        # The key first, with the value that is most likely to be meant: a wrong key is not a matter of its choices.
        checked(Choices(keys, parameter.values[:1]), base, place)
    elif isinstance(written, dict):
        _require_ends(name, written, place)
        checked(Choices(keys, (written["low"],)), base, place)
        parameter = _range(keys, written, place)
    else:
        raise ConfigError(
            f"{place}: {name} is {show(written)}, but has to be a list of choices, or a range such as "
            f"{{low: 0.001, high: 0.03, log: true}}"
        )
    checked(parameter, base, place)
    return parameter


def _choices(keys: tuple[str, ...], written: list[Any], place: str) -> Choices:
    texts = [json.dumps(value, sort_keys=True) for value in written]
    if not texts:
        raise ConfigError(f"{place}: {', '.join(keys)} has no choices; name at least one")
    twice = next((text for number, text in enumerate(texts) if text in texts[:number]), None)
    if twice is not None:
        raise ConfigError(f"{place}: {', '.join(keys)} has the choice {twice} twice; remove one")
    return Choices(keys, tuple(written))


def _require_ends(name: str, written: Mapping[str, Any], place: str) -> None:
    for entry in written:
        if entry not in _ENTRIES:
            meant = closest(entry, _ENTRIES)
            hint = f"; did you mean {meant}?" if meant else ""
            raise ConfigError(f"{place}: {name} has an unknown entry {entry}{hint} (a range has low, high and log)")
    for entry in ("low", "high"):
        if isinstance(written.get(entry), bool) or not isinstance(written.get(entry), int | float):
            raise ConfigError(f"{place}: {name}.{entry} is {show(written.get(entry))}, but has to be a number")
    if not isinstance(written.get("log", False), bool):
        raise ConfigError(f"{place}: {name}.log is {show(written['log'])}, but has to be true or false")


def _range(keys: tuple[str, ...], written: Mapping[str, Any], place: str) -> Range:
    name, low, high, log = ", ".join(keys), written["low"], written["high"], written.get("log", False)
    whole = {_is_whole(key, place) for key in keys}
    if len(whole) > 1:
        raise ConfigError(f"{place}: of {name} some take whole numbers only; give choices instead of a range")
    if low > high:
        raise ConfigError(f"{place}: {name}.low is {low}, which is more than its high, {high}; exchange them")
    if log and low <= 0:
        raise ConfigError(f"{place}: {name}.low is {low}, but has to be greater than 0 with log: true")
    return Range(keys, low, high, log, whole.pop())


def _is_whole(key: str, place: str) -> bool:
    """Whether a key takes whole numbers only."""
    annotation: Any = Config
    for part in key_of(key):
        annotation = below(annotation, part)
    kinds = {bare(member) for member in alternatives(annotation)}
    if not kinds & {int, float}:
        raise ConfigError(
            f"{place}: {key} takes {describe(annotation)}, not a range of numbers; give a list of choices"
        )
    return float not in kinds


def written_space(space: Iterable[Parameter]) -> dict[str, Any]:
    """The space as a file would say it."""
    return {", ".join(parameter.keys): parameter.described() for parameter in space}
