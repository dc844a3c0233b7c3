"""What a search may change: files that say it, mistakes in them, and the space that is there without a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest

from recbatch.config.document import Document, parse
from recbatch.config.load import resolve
from recbatch.config.overrides import override
from recbatch.errors import ConfigError
from recbatch.tuning.defaults import default_space
from recbatch.tuning.space import (
    Choices,
    Range,
    Space,
    current_values,
    expressible,
    name_of,
    override_words,
    suggest,
)
from recbatch.tuning.space_file import read_space

ROOT = Path(__file__).resolve().parents[1]
BASE = """
inputs:
  interactions: {path: events.parquet, columns: {user_id: u, item_id: i, timestamp: t}, timestamp_unit: s}
model:
  dim: 64
  normalize: true
  temperature: 0.2
  query:
    features: [{kind: history, dim: 64, dropout: 0.4}, {kind: id, dim: 16}]
    combine: sum
    projection: false
  candidate: {features: [{kind: id, dim: 64}], layers: [64], projection: false}
"""
TIED = "model.dim, model.query.features.0.dim, model.candidate.features.0.dim, model.candidate.layers.0"


def base(text: str = BASE) -> Document:
    return parse(text, "config.yaml")


def space_of(tmp_path: Path, text: str) -> Space:
    (tmp_path / "space.yaml").write_text(text)
    return read_space(str(tmp_path / "space.yaml"), base())


def test_a_file_is_read_as_ranges_and_choices(tmp_path: Path) -> None:
    text = f"""
model.training.learning_rate: {{low: 0.001, high: 0.1, log: true}}
model.training.epochs: {{low: 2, high: 20}}
model.query.features.0.dropout: {{low: 0, high: 0.5}}
model.query.layers: [[], [64]]
model.training.early_stopping: [null, {{patience: 5}}]
{TIED}: [32, 64]
"""
    assert space_of(tmp_path, text) == (
        Range(("model.training.learning_rate",), 0.001, 0.1, log=True, whole=False),
        Range(("model.training.epochs",), 2, 20, log=False, whole=True),
        Range(("model.query.features.0.dropout",), 0, 0.5, log=False, whole=False),
        Choices(("model.query.layers",), ([], [64])),
        Choices(("model.training.early_stopping",), (None, {"patience": 5})),
        Choices(tuple(TIED.split(", ")), (32, 64)),
    )


WRONG = [
    ("", "space.yaml: a search space is a mapping such as model.dim: [32, 64]"),
    ("- 3", "is a mapping such as"),
    ("model.dimm: [3]", "space.yaml:1:1: unknown key model.dimm .*did you mean model.dim?"),
    ("model.trainning.epochs: [3]", "did you mean model.training"),
    ("model.query.features.7.dim: [3]", "is a list with entries 0 to 1, 7 is none of them"),
    ("model.query.features.0.dimm: [3]", "unknown key model.query.features.0.dimm"),
    ("model.training.epochs: [3, x]", 'model.training.epochs is "x", but has to be a whole number'),
    ("model.training.epochs: {low: 1.5, high: 3}", "model.training.epochs is 1.5, but has to be a whole number"),
    ("model.training.epochs: {low: 0, high: 3}", "model.training.epochs is 0, but has to be .*greater than 0"),
    ("model.query.features.0.dropout: {low: 0, high: 1}", "dropout is 1, but has to be .*less than 1"),
    ("model.query.combine: {low: 1, high: 3}", "model.query.combine is 1, but has to be 'concat' or 'sum'"),
    ("model.query.combine: [summ]", "did you mean 'sum'?"),
    ("model.temperature: {low: 0.5, high: 0.1}", "low is 0.5, which is more than its high, 0.1; exchange them"),
    ("model.temperature: {low: 0.5}", "model.temperature.high is null, but has to be a number"),
    ("model.temperature: {low: true, high: 3}", "model.temperature.low is true, but has to be a number"),
    ("model.temperature: {low: 0.1, hihg: 3}", "unknown entry hihg; did you mean high?"),
    ("model.temperature: {low: 0.1, high: 3, log: 1}", "model.temperature.log is 1, but has to be true or false"),
    (
        "model.query.features.0.dropout: {low: 0, high: 0.5, log: true}",
        "low is 0, but has to be greater than 0 with log: true",
    ),
    ("model.temperature: 0.3", "model.temperature is 0.3, but has to be a list of choices, or a range such as"),
    ("model.temperature: []", "has no choices"),
    ("model.temperature: [0.1, 0.1]", "has the choice 0.1 twice"),
    ("model.temperature: [0.1]\nmodel.dim, model.temperature: [1]", "space.yaml:2:1: .*at .*space.yaml:1:1; remove"),
    ("model.query.layers: [[]]\nmodel.query: [{}]", "a part of the same"),
    (
        "model.dim: [32]",
        "with model.dim 32 the configuration contradicts itself: config.yaml:.* ends .* wide, but model.dim is 32",
    ),
    ("tables.user2item.k: [3]", "tables.user2item.k is not a setting of the model"),
    ("positives.min_weight: [3]", "is not a setting of the model"),
    ("model.training.seed: [1, 2]", "cannot be searched: it decides what is held out"),
    ("model.training.heldout.share: [0.1, 0.2]", "cannot be searched: it decides what is held out"),
    ("model.training.refit: [true, false]", "cannot be searched: it makes no difference"),
    ("model.training: [{}]", "model.training holds model.training.heldout, which cannot be searched"),
    ("model.dim: [", "this is not YAML"),
]


@pytest.mark.parametrize(("text", "says"), WRONG, ids=[text for text, _ in WRONG])
def test_a_wrong_space_says_what_is_wrong(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says.replace("?", "\\?").replace("[", "\\[")) as error:
        space_of(tmp_path, text)
    assert str(error.value).startswith(str(tmp_path / "space.yaml"))
    assert "--set" not in str(error.value)


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="2 mistakes in the search space:\n.*model.dimm.*\n.*exchange them"):
        space_of(tmp_path, "model.dimm: [3]\nmodel.temperature: {low: 2, high: 1}")


def test_the_default_space_holds_what_the_model_has() -> None:
    names = {name_of(parameter) for parameter in default_space(resolve(base()).config, base())}
    assert names == {
        "model.training.learning_rate",
        "model.training.batch_size",
        TIED,
        "model.temperature",
        "model.query.features.0.dropout",
        "model.query.features.1.dropout",
        "model.candidate.features.0.dropout",
        "model.item_bias",
    }
    falling = override(base(), ["model.training.final_temperature=0.1"])
    added = {name_of(parameter) for parameter in default_space(resolve(falling).config, falling)} - names
    assert added == {"model.training.final_temperature", "model.training.epochs"}, "its schedule depends on them"
    small = override(falling, ["model.training.min_steps=300"])
    lasting = {name_of(parameter): parameter for parameter in default_space(resolve(small).config, small)}
    assert lasting["model.training.min_steps"] == Range(("model.training.min_steps",), 75, 1200, log=True, whole=True)
    plain = base(
        "inputs: {interactions: {path: p, columns: {user_id: u, item_id: i}}}\nmodel: {training: {epochs: 50}}"
    )
    plain = override(plain, ["model.training.early_stopping=null"])
    found = {name_of(parameter): parameter for parameter in default_space(resolve(plain).config, plain)}
    assert "model.temperature" not in found, "without unit vectors their lengths make up for it"
    assert found["model.training.epochs"] == Range(("model.training.epochs",), 1, 50, log=True, whole=True)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*.yaml")), ids=lambda path: path.stem)
def test_default_spaces_hold_the_configuration_and_give_valid_ones(path: Path) -> None:
    document = parse(path.read_text(), str(path))
    config = resolve(document).config
    space = default_space(config, document)
    assert len(space) >= 3
    assert set(expressible(space, config)) == {name_of(parameter) for parameter in space}
    same = resolve(override(document, override_words(current_values(space, config)))).config
    assert same == config
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(10):
        values = suggest(space, study.ask())
        resolve(override(document, override_words(values)))


def test_numbers_have_few_digits_and_stay_inside() -> None:
    class Last:
        def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
            return high

        def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
            return low

        def suggest_categorical(self, name: str, choices: list[str]) -> Any:
            return choices[-1]

    assert Range(("a",), 0.1, 0.123456, log=False, whole=False).suggest(Last()) == 0.123
    assert Range(("a",), 0.1, 0.1239, log=False, whole=False).suggest(Last()) == 0.1239, "0.124 is outside"
    assert Range(("a",), 3, 9, log=False, whole=True).suggest(Last()) == 3
    assert Choices(("a",), (None, [1, "x"])).suggest(Last()) == [1, "x"]


def test_what_is_outside_of_the_space_is_not_expressible(tmp_path: Path) -> None:
    space = space_of(
        tmp_path,
        "model.temperature: {low: 0.5, high: 1}\nmodel.training.epochs: {low: 1, high: 20}\n"
        "model.query.features.0.dim, model.query.features.1.dim: [16, 64]",
    )
    config = resolve(base()).config
    assert expressible(space, config) == {"model.training.epochs": 10}
    assert current_values(space, config) == {
        "model.temperature": 0.2,
        "model.training.epochs": 10,
        "model.query.features.0.dim, model.query.features.1.dim": [64, 16],
    }
