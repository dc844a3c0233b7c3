"""The resolved configuration can be loaded again, and its canonical form does not depend on spelling."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbatch.config.document import parse
from recbatch.config.keys import all_keys
from recbatch.config.load import canonical, dump_config, resolve
from recbatch.config.models import Config, Inputs, InteractionColumns, InteractionsInput

FULL = """
inputs:
  interactions:
    path: [a/*.parquet, "gs://b/c: d"]
    columns: {user_id: "1", item_id: "yes", weight: stars, event_type: "null"}
    context: [device, "# no comment"]
  items: {path: "2024-01-01", id: "0x10", label: "ein Titel"}
positives: {min_weight: 1e-5, event_types: ["true", "~", "🎬 kino", "a\\nb"]}
model:
  query: {features: [{kind: id, dim: 16}, {kind: category, column: device}, {kind: history}], layers: [64, 32]}
  candidate: {features: [{kind: multi_category, column: tags, separator: ", "}]}
  training: {early_stopping: null}
tables: {user2user: {enabled: false}}
"""


def loaded(text: str) -> Config:
    return resolve(parse(text, "night.yaml")).config


def test_a_dumped_config_loads_as_the_same() -> None:
    config = loaded(FULL)
    assert loaded(dump_config(config)) == config


def test_a_dump_has_every_key_with_its_value() -> None:
    absent_by_default = "inputs: {interactions: {path: x}, users: {path: u}, items: {path: i}}\nmodel: {pairs: {}}"
    dumped = parse(dump_config(loaded(absent_by_default)), "dump")
    headed = "inputs: {interactions: {path: x}}\nmodel: {linear: {}, query: {features: [{kind: history}]}}"
    places = {**dumped.places, **parse(dump_config(loaded(headed)), "dump").places}
    assert [key for key in all_keys() if key not in places] == []
    assert dumped.value(("tables", "user2item", "k")) == 100
    assert dump_config(loaded(FULL)).startswith("inputs:\n  interactions:\n    path:\n")


@settings(deadline=None, max_examples=40)  # the machine may be busy
@given(st.text(min_size=1).filter(lambda text: "\0" not in text))
def test_any_text_survives(text: str) -> None:
    columns = InteractionColumns(user_id=text, item_id="other" + text)
    config = Config(inputs=Inputs(interactions=InteractionsInput(path="x", columns=columns)))
    assert loaded(dump_config(config)) == config


@settings(deadline=None, max_examples=40)  # the machine may be busy
@given(st.floats(min_value=1e-300, max_value=1e300))
def test_any_number_survives(number: float) -> None:
    text = f"inputs: {{interactions: {{path: x}}}}\nmodel: {{temperature: {number!r}}}"
    assert loaded(text).model.temperature == number
    assert loaded(dump_config(loaded(text))).model.temperature == number


def test_canonical_does_not_depend_on_spelling() -> None:
    written = "inputs: {interactions: {path: x}}\nmodel: {temperature: 2, dim: 8}\n"
    otherwise = "model:\n  dim: 8\n  temperature: 2.0\n  normalize: false\ninputs:\n  interactions:\n    path: 'x'\n"
    assert canonical(loaded(written)) == canonical(loaded(otherwise))
    assert canonical(loaded(written)) != canonical(loaded(written.replace("8", "9")))


def test_canonical_of_a_section_is_sorted_json() -> None:
    section = loaded("inputs: {interactions: {path: ä}}").inputs.interactions
    text = canonical(section).decode()
    assert text.startswith('{"columns":{"event_type":null,"item_id":"item_id",')
    assert text.endswith('"path":"ä","timestamp_unit":null}')
    assert json.loads(text) == section.model_dump(mode="json")


@pytest.mark.parametrize("key", ["dim", "training", "query"])
def test_configs_are_immutable(key: str) -> None:
    with pytest.raises(ValueError, match="frozen"):
        setattr(loaded(FULL).model, key, None)
