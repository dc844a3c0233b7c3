"""Combinations that cannot work: filters without columns, outputs in inputs, features without a source."""

from __future__ import annotations

from pathlib import Path

import pytest

from recbatch.config.checks import check_output, contradictions
from recbatch.config.document import parse
from recbatch.config.load import load_config, resolve
from recbatch.config.models import Config, Inputs, InteractionsInput
from recbatch.errors import ConfigError


def message(*overrides: str) -> str:
    """What a config with these overrides is told."""
    with pytest.raises(ConfigError) as error:
        resolve(parse("inputs: {interactions: {path: data/events.parquet}}", "night.yaml"), overrides)
    return str(error.value)


def reading(*paths: str) -> Config:
    """A config with these input paths."""
    return Config(inputs=Inputs(interactions=InteractionsInput(path=paths[0] if len(paths) == 1 else list(paths))))


def test_the_defaults_contradict_nothing() -> None:
    assert list(contradictions(reading("data/events.parquet"))) == []


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["positives.min_weight=4"],
            "--set positives.min_weight=4: positives.min_weight is 4.0, but inputs.interactions.columns.weight names "
            "no column; name it or remove positives.min_weight",
        ),
        (
            ["seen.event_types=[buy]"],
            "seen.event_types is ['buy'], but inputs.interactions.columns.event_type names no",
        ),
        (
            ["inputs.interactions.timestamp_unit=s"],
            "inputs.interactions.timestamp_unit is 's', but inputs.interactions.columns.timestamp names no column",
        ),
        (
            [f"tables.{name}.enabled=false" for name in ("user2item", "item2item", "user2user", "item2user")],
            "tables: every table is switched off; set tables.user2item.enabled (or another's) to true",
        ),
        (["inputs.interactions.path=[data/a, ./data//a]"], "inputs.interactions.path.1: "),
        (["inputs.interactions.path=[gs://b/a, gs://b/c/../a]"], "'gs://b/a' is listed twice; remove one"),
        (["inputs.interactions.context=[device, device]"], "inputs.interactions.context.1: 'device' is listed twice"),
        (
            ["inputs.interactions.columns.item_id=user_id"],
            "inputs.interactions.columns.item_id and .user_id are both 'user_id'; name the right column for each",
        ),
        (
            ["inputs.interactions.columns.timestamp=item_id"],
            "inputs.interactions.columns.timestamp and .item_id are both",
        ),
        (
            ["model.candidate.features=[{kind: id}, {kind: text, column: title}]"],
            "model.candidate.features.1: the text feature reads column 'title', but the config names no inputs.items",
        ),
        (
            ["model.query.features=[{kind: number, column: age}]"],
            "but the config names no inputs.users (or inputs.interactions.context); name it there or remove the",
        ),
        (
            [
                "inputs.items.path=items.parquet",
                "model.candidate.features=[{kind: text, column: t}, {kind: multi_category, column: t}]",
            ],
            "model.candidate.features.1: column 't' is declared as string and as list<item: string>; use one kind per",
        ),
        (
            [
                "inputs.items.path=i.parquet",
                "inputs.users.path=u.parquet",
                "model.query.features=[{kind: multi_category, column: tags}]",
                "model.candidate.features=[{kind: multi_category, column: tags, separator: ';'}]",
            ],
            "column 'tags' is cut at '|' and at ';'; use one separator per column name",
        ),
        (
            ["model.candidate.features=[{kind: id}, {kind: history}]"],
            "model.candidate.features.1: a history feature belongs to the query tower; move it there",
        ),
    ],
)
def test_contradictions(overrides: list[str], said: str) -> None:
    assert said in message(*overrides)


def test_contradictions_are_all_told_with_their_places() -> None:
    text = "inputs: {interactions: {path: x}}\npositives: {min_weight: 4}\nseen: {event_types: [a]}\n"
    with pytest.raises(ConfigError) as error:
        resolve(parse(text, "night.yaml"))
    lines = str(error.value).splitlines()
    assert lines[0] == "2 mistakes in the configuration:"
    assert lines[1].startswith("  night.yaml:2:13: positives.min_weight is 4.0")
    assert lines[2].startswith("  night.yaml:3:8: seen.event_types is ['a']")


def test_a_time_feature_without_times_is_fine() -> None:
    document = parse("inputs: {interactions: {path: x}}", "night.yaml")
    resolve(document, ["model.query.features=[{kind: id}, {kind: timestamp}]"])


def test_weight_and_event_type_may_be_one_column() -> None:
    columns = ["inputs.interactions.columns.weight=stars", "inputs.interactions.columns.event_type=stars"]
    resolve(parse("inputs: {interactions: {path: x}}", "night.yaml"), columns)


def test_a_context_column_is_a_source() -> None:
    overrides = ["inputs.interactions.context=[device]", "model.query.features=[{kind: category, column: device}]"]
    resolve(parse("inputs: {interactions: {path: x}}", "night.yaml"), overrides)


@pytest.mark.parametrize(
    ("path", "output", "relation"),
    [
        ("data", "data/out", "it has inside"),
        ("data/", "./data/../data/out/", "it has inside"),
        ("data", "data", "it is"),
        ("data/events.parquet", "data", "it lies inside"),
        ("data/events.parquet", ".", "it lies inside"),
        ("data/events.parquet", "/", "it lies inside"),
        ("data/*", "data/out", "it is"),
        ("data/*.parquet", "data", "it lies inside"),
        ("data/**/*.parquet", "data/out", "it has inside"),
        ("data/day=*/*.parquet", "data/day=1", "it lies inside"),
        ("gs://bucket/in", "gs://bucket/in/out", "it has inside"),
        ("gs://bucket/in/", "gs://bucket/x/../in/out", "it has inside"),
        ("gs://bucket/in/a.parquet", "gs://bucket", "it lies inside"),
    ],
)
def test_output_and_inputs_must_lie_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, output: str, relation: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as error:
        check_output(reading("gs://elsewhere", path), output)
    assert str(error.value) == (
        f"inputs.interactions.path is {path!r}: {relation} the output {output!r}, so a night would read what nights "
        f"write; choose an output folder beside the inputs"
    )


@pytest.mark.parametrize(
    ("path", "output"),
    [
        ("data/events.parquet", "out"),
        ("data/events.parquet", "data/out"),
        ("data", "data2"),
        ("data/*.parquet", "data/out"),
        ("gs://bucket/in", "gs://bucket/inside"),
        ("gs://bucket/in", "gs://other/in/out"),
        ("data", "gs://bucket/data"),
    ],
)
def test_places_that_lie_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, output: str) -> None:
    monkeypatch.chdir(tmp_path)
    check_output(reading(path), output)


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    with pytest.raises(ConfigError, match="it has inside the output"):
        check_output(reading(str(tmp_path / "data")), str(tmp_path / "link" / "out"))
    with pytest.raises(ConfigError, match="it has inside the output"):
        check_output(reading(str(tmp_path / "link" / "**" / "*.parquet")), str(tmp_path / "data" / "out"))


def test_a_file_or_nothing_is_no_output(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is a file; name a folder"):
        check_output(reading("data"), str(tmp_path / "file"))
    with pytest.raises(ConfigError, match="the output is empty"):
        check_output(reading("data"), "")


def test_load_config_checks_the_output_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "night.yaml"
    file.write_text("inputs:\n  interactions: {path: /data/in}\n  items: {path: /data/items, id: sku}\n")
    load_config(str(file), output="/data/out")
    with pytest.raises(ConfigError, match=r"night\.yaml:3:11: inputs\.items\.path is '/data/items': it has inside"):
        load_config(str(file), output="/data/items/out")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("bins: 1", "bins is 1, which tells no time from another; say 0 or at least 2"),
        (
            "normalized: false",
            "nothing of the time is used: bins is 0, and normalized, hour_of_day and weekday are off",
        ),
    ],
)
def test_a_time_feature_says_something(settings: str, said: str) -> None:
    assert said in message(f"model.query.features=[{{kind: timestamp, {settings}}}]")
