"""The space that is searched where none is given: what matters most, of what the configured model has."""

from __future__ import annotations

from collections.abc import Iterator

from recbatch.config.document import Document
from recbatch.config.models import Config, HistoryFeature, IdFeature, Model
from recbatch.errors import ConfigError
from recbatch.tuning.space import Choices, Parameter, Range, Space
from recbatch.tuning.space_file import checked

_LEARNING_RATES = {"adam": (0.0003, 0.03), "adagrad": (0.01, 1.0)}
_TEMPERATURES = (0.05, 0.5)
_MOST_DROPOUT = 0.8
_MOST_EPOCHS = 30
_LEAST_DIM = 8
_FACTOR = 4  # by which min_steps may be fewer or more


def default_space(config: Config, base: Document) -> Space:
    """Learning rate, batch size and width always; the rest where the model has it.

    Every range holds the configuration's own value. What the model cannot take (a width that other keys hold in place)
    is left out.

    Args:
        config: the configuration that the search starts from.
        base: the same as it was read.
    """
    return tuple(parameter for parameter in _wanted(config.model) if _is_valid(parameter, base))


def _wanted(model: Model) -> Iterator[Parameter]:
    training = model.training
    low, high = _LEARNING_RATES.get(training.optimizer, _LEARNING_RATES["adam"])
    yield _around("model.training.learning_rate", training.learning_rate, low, high, log=True)
    size = training.batch_size
    yield _choices(["model.training.batch_size"], [max(1, size // 4), max(1, size // 2), size, size * 2, size * 4])
    yield _choices(_width_keys(model), [max(_LEAST_DIM, model.dim // 2), model.dim, model.dim * 2])
    if model.normalize:  # else the lengths of the vectors make up for it
        yield _around("model.temperature", model.temperature, *_TEMPERATURES, log=True)
        if isinstance(training.final_temperature, float):
            yield _around("model.training.final_temperature", training.final_temperature, *_TEMPERATURES, log=True)
    yield from _dropouts(model)
    yield Choices(("model.item_bias",), (False, True))
    scheduled = training.schedule != "constant" or training.final_temperature is not None
    if training.early_stopping is None or scheduled:  # a schedule ends with the last of them
        yield _epochs(training.epochs)
        if training.min_steps > 1:  # a small dataset is gone through for so long, whatever the epochs
            steps = training.min_steps
            yield Range(("model.training.min_steps",), max(1, steps // _FACTOR), steps * _FACTOR, log=True, whole=True)


def _width_keys(model: Model) -> list[str]:
    """The keys that are as wide as the model and are to stay so: its own, its features', a last layer's."""
    keys = ["model.dim"]
    for name, tower in (("query", model.query), ("candidate", model.candidate)):
        keys += [
            f"model.{name}.features.{place}.dim"
            for place, feature in enumerate(tower.features)
            if getattr(feature, "dim", None) == model.dim
        ]
        if tower.layers and tower.layers[-1] == model.dim and not tower.projection:
            keys.append(f"model.{name}.layers.{len(tower.layers) - 1}")
    return keys


def _dropouts(model: Model) -> Iterator[Range]:
    """Those of a tower's features, one by one; all histories of a tower have the same."""
    for name, tower in (("query", model.query), ("candidate", model.candidate)):
        found = {
            f"model.{name}.features.{place}.dropout": feature
            for place, feature in enumerate(tower.features)
            if isinstance(feature, IdFeature | HistoryFeature)
        }
        histories = tuple(key for key, feature in found.items() if feature.kind == "history")
        for keys in ([histories] if histories else []) + [(key,) for key in found if key not in histories]:
            yield Range(keys, 0.0, max(_MOST_DROPOUT, found[keys[0]].dropout), log=False, whole=False)


def _epochs(epochs: int) -> Range:
    return Range(("model.training.epochs",), 1, max(_MOST_EPOCHS, epochs), log=True, whole=True)


def _around(key: str, value: float, low: float, high: float, *, log: bool) -> Range:
    return Range((key,), min(low, value), max(high, value), log=log, whole=False)


def _choices(keys: list[str], values: list[int]) -> Choices:
    return Choices(tuple(keys), tuple(sorted(set(values))))


def _is_valid(parameter: Parameter, base: Document) -> bool:
    try:
        checked(parameter, base, "the default search space")
    except ConfigError:
        return False
    return True
