"""What a search may change: ranges and choices of keys of the configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from recbatch.config.models import Config

_DIGITS = 3  # of a number that was found: what is written down is exactly what was measured, and can be read


class Suggests(Protocol):
    """A trial of Optuna, as far as a space needs it."""

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """A whole number."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """A number."""

    def suggest_categorical(self, name: str, choices: list[str]) -> Any:
        """One of several texts."""


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both included.

    Attributes:
        keys: dotted keys that all get the number.
        log: as many tries between 1 and 10 as between 10 and 100.
        whole: only whole numbers.
    """

    keys: tuple[str, ...]
    low: float
    high: float
    log: bool
    whole: bool

    def suggest(self, trial: Suggests) -> int | float:
        """The value that ``trial`` is to use."""
        if self.whole:
            return trial.suggest_int(name_of(self), int(self.low), int(self.high), log=self.log)
        number = trial.suggest_float(name_of(self), self.low, self.high, log=self.log)
        return min(max(float(f"{number:.{_DIGITS}g}"), self.low), self.high)

    def encoded(self, value: Any) -> Any:
        """``value`` as the study stores it; None where it is outside."""
        number = isinstance(value, int if self.whole else int | float) and not isinstance(value, bool)
        return value if number and self.low <= value <= self.high else None

    def described(self) -> dict[str, Any]:
        """As it is written in a file."""
        return {"low": self.low, "high": self.high, "log": self.log}


@dataclass(frozen=True)
class Choices:
    """Some values (anything that JSON can hold) for keys that all get the same one."""

    keys: tuple[str, ...]
    values: tuple[Any, ...]

    def suggest(self, trial: Suggests) -> Any:
        """The value that ``trial`` is to use."""
        # Optuna stores texts and numbers only, a choice may be a list.
        return json.loads(trial.suggest_categorical(name_of(self), [_text(value) for value in self.values]))

    def encoded(self, value: Any) -> Any:
        """``value`` as the study stores it; None where it is none of them."""
        return next((_text(choice) for choice in self.values if _text(choice) == _text(value)), None)

    def described(self) -> list[Any]:
        """As it is written in a file."""
        return list(self.values)


Parameter = Range | Choices
Space = tuple[Parameter, ...]


def name_of(parameter: Parameter) -> str:
    """Its keys, as a space file names them: ``model.dim`` or ``model.dim, model.query.features.0.dim``."""
    return ", ".join(parameter.keys)


def suggest(space: Space, trial: Suggests) -> dict[str, Any]:
    """Values for a trial, by the name of the parameter."""
    return {name_of(parameter): parameter.suggest(trial) for parameter in space}


def assignments(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by parameter as values by dotted key."""
    return {key: value for name, value in values.items() for key in name.split(", ")}


def changes(values: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """Values by parameter as values by dotted key, without those that the configuration has already."""
    plain = config.model_dump(mode="json")
    return {key: value for key, value in assignments(values).items() if _text(_at(plain, key)) != _text(value)}


def override_words(values: Mapping[str, Any]) -> list[str]:
    """Values by parameter as ``key=value`` words, see :func:`recbatch.config.overrides.override`."""
    return [f"{key}={json.dumps(value)}" for key, value in assignments(values).items()]


def current_values(space: Space, config: Config) -> dict[str, Any]:
    """What a configuration has, by the name of the parameter; where tied keys differ, all that they have."""
    plain = config.model_dump(mode="json")
    found = {}
    for parameter in space:
        values = [_at(plain, key) for key in parameter.keys]
        found[name_of(parameter)] = values[0] if _are_equal(values) else values
    return found


def expressible(space: Space, config: Config) -> dict[str, Any]:
    """The configuration as it is, as far as it is inside the space: stored values by the name of the parameter."""
    plain = config.model_dump(mode="json")
    found = {}
    for parameter in space:
        values = [_at(plain, key) for key in parameter.keys]
        encoded = parameter.encoded(values[0])
        if encoded is not None and _are_equal(values):
            found[name_of(parameter)] = encoded
    return found


def _at(values: Any, key: str) -> Any:
    """The value of a dotted key; None where a section on the way is null."""
    for part in key.split("."):
        if values is None:
            return None
        values = values[int(part)] if isinstance(values, list) else values.get(part)
    return values


def _are_equal(values: list[Any]) -> bool:
    return all(_text(value) == _text(values[0]) for value in values)


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
