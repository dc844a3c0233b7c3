"""Reading a configuration: YAML, places, overrides, and the sentences that mistakes become."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from recbatch.config.load import load_config, read_config
from recbatch.errors import ConfigError

MINIMAL = """\
inputs:
  interactions:
    path: events.parquet
"""

Load = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Write ``night.yaml`` into the current directory."""
    monkeypatch.chdir(tmp_path)

    def write_file(text: str) -> str:
        Path("night.yaml").write_text(text, encoding="utf-8")
        return "night.yaml"

    return write_file


@pytest.fixture
def message(write: Callable[[str], str]) -> Load:
    """What loading a text says."""

    def load(text: str, *overrides: str) -> str:
        with pytest.raises(ConfigError) as error:
            load_config(write(text), overrides)
        return str(error.value)

    return load


def test_a_minimal_config_has_defaults(write: Callable[[str], str]) -> None:
    config = load_config(write(MINIMAL))
    assert config.inputs.interactions.path == "events.parquet"
    assert config.inputs.users is None
    assert config.tables.user2item.k == 100
    assert config.time_zone == "UTC"


def test_empty_sections_and_a_byte_order_mark_are_fine(write: Callable[[str], str]) -> None:
    config = load_config(write("\ufeff" + MINIMAL + "positives:\n  # min_weight: 4\ntables:\n  user2item:\n"))
    assert config.positives.min_weight is None
    assert config.tables.user2item.exclude_seen


def test_anchors_and_merge_keys(write: Callable[[str], str]) -> None:
    config = load_config(
        write(MINIMAL + "tables:\n  user2item: &few {k: 7, min_recall: 0.9}\n  item2user:\n    <<: *few\n    k: 8\n")
    )
    assert (config.tables.user2item.k, config.tables.item2user.k, config.tables.item2user.min_recall) == (7, 8, 0.9)


def test_dates_stay_text(write: Callable[[str], str]) -> None:
    assert load_config(write(MINIMAL.replace("events.parquet", "2024-01-01"))).inputs.interactions.path == "2024-01-01"


def test_unknown_key_names_place_value_and_nearest(message: Load) -> None:
    said = message(MINIMAL + "tables:\n  user2item:\n    min_recal: 0.9\n")
    assert said.startswith(
        "night.yaml:6:5: unknown key tables.user2item.min_recal (its value: 0.9); "
        "did you mean tables.user2item.min_recall? (the keys of tables.user2item are enabled, k, "
    )


def test_a_key_of_another_section_is_suggested_with_its_path(message: Load) -> None:
    assert "unknown key model.batch_size (its value: 9); did you mean model.training.batch_size?" in message(
        MINIMAL + "model: {batch_size: 9}\n"
    )


def test_a_key_like_nothing_lists_the_valid_ones(message: Load) -> None:
    assert message(MINIMAL + "zzz: 1\n") == (
        "night.yaml:4:1: unknown key zzz (its value: 1); the sections are inputs, time_zone, positives, seen, model, "
        "tables, index, gate, run"
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("tables: {user2item: {k: 0}}", "4:22: tables.user2item.k is 0, but has to be a whole number greater than 0"),
        ("tables: {user2item: {k: -3}}", "tables.user2item.k is -3, but has to be a whole number greater than 0"),
        ('model: {dim: "10"}', '4:9: model.dim is "10", but has to be a whole number greater than 0; write it without'),
        ("model: {dim: 1e2}", "model.dim is 100.0, but has to be a whole number greater than 0; write 100"),
        ("model: {dim: true}", "model.dim is true, but has to be a whole number"),
        ("model: {normalize: yes}", 'model.normalize is "yes", but has to be true or false; write true'),
        ("model: {temperature: .nan}", "model.temperature is .nan, but has to be a number greater than 0"),
        (
            "time_zone: europe/Berlin",
            "time_zone: 'europe/Berlin' is not a time zone of the IANA database; did you mean",
        ),
        (
            "index: {kind: scan}",
            "index.kind is \"scan\", but has to be 'auto', 'exact' or 'scann'; did you mean 'scann'?",
        ),
        ("tables: 3", "tables is 3, but has to be a section with the keys user2item, item2item, user2user, item2user"),
        ("tables: {item2item: {exclude_seen: true}}", "tables.item2item.exclude_seen is true, but has to be false"),
        ("run: {max_invalid_vector_share: 2}", "is 2, but has to be a number at least 0 and at most 1"),
        ("seen: {event_types: [view, 3]}", "seen.event_types.1 is 3, but has to be text; put it in quotes: '3'"),
        ("seen: {event_types: []}", "seen.event_types is [], but has to be a list of texts with at least one entry"),
        ("model: {query: {layers: [8]}}", "model.query.features is missing; it takes a list of features"),
    ],
)
def test_wrong_values(message: Load, line: str, said: str) -> None:
    assert said in message(MINIMAL + line + "\n")


@pytest.mark.parametrize(
    ("feature", "said"),
    [
        ("{kind: categry, column: x}", "model.query.features.1.kind is \"categry\", but has to be 'id', 'category', "),
        ("{kind: categry, column: x}", "; did you mean 'category'?"),
        ("{kind: category, colum: x}", "did you mean model.query.features.1.column?"),
        (
            "{kind: text, column: x, min_count: 3}",
            "features.1.min_count (its value: 3); the keys of",
        ),
        ("{kind: category}", "model.query.features.1.column is missing; it takes text"),
        ("{dim: 3}", "model.query.features.1.kind is missing; it takes 'id', "),
        ("{knd: id}", "model.query.features.1.kind is missing (there is knd: did you mean kind?)"),
        ("{kind: id, dim: 0}", "model.query.features.1.dim is 0, but has to be a whole number greater than 0"),
        ("id", 'model.query.features.1 is "id", but has to be a mapping such as {kind: id}'),
        ("{kind: id}", "model.query.features.1: feature id is declared twice; remove one"),
    ],
)
def test_wrong_features_are_told_without_noise(message: Load, feature: str, said: str) -> None:
    text = MINIMAL + f"model:\n  query:\n    features:\n      - {{kind: id}}\n      - {feature}\n"
    assert said in message(text)
    assert message(text).startswith("night.yaml:8:")
    assert "\n" not in message(text)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("5", "inputs.interactions.path is 5, but has to be text or a list of texts with at least one entry"),
        ("[a, 5]", "3:15: inputs.interactions.path.1 is 5, but has to be text"),
        ("[]", "inputs.interactions.path is [], but has to be a list of texts with at least one entry"),
        ("{a: 5}", 'inputs.interactions.path is {"a": 5}, but has to be text or a list of texts'),
        ("", "inputs.interactions.path is null, but has to be text or a list of texts"),
        ("''", "inputs.interactions.path is empty; it takes text or a list of texts"),
    ],
)
def test_text_or_list_is_told_once(message: Load, path: str, said: str) -> None:
    told = message(MINIMAL.replace("events.parquet", path))
    assert said in told
    assert "\n" not in told


def test_all_mistakes_are_told_in_the_order_of_the_file(message: Load) -> None:
    told = message("tabels: {}\n" + MINIMAL + "time_zone: Mars\nrun: {slice_rows: 0}\n", "index.kind=best").splitlines()
    assert told[0] == "4 mistakes in the configuration:"
    places = [line.strip().split(": ")[0] for line in told[1:]]
    assert places == ["night.yaml:1:1", "night.yaml:5:1", "night.yaml:6:7", "--set index.kind=best"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "inputs:\n\tinteractions: x\n",
            "night.yaml:2:1: this is not YAML: found character '\\t' that cannot start any ",
        ),
        ("inputs:\n\tinteractions: x\n", "indent with spaces, not with tabs"),
        ("inputs: {a: b\n", "this is not YAML: expected ',' or '}'"),
        (
            "inputs: *.parquet\n",
            "night.yaml:1:9: this is not YAML: found undefined alias '.parquet'; put a value that ",
        ),
        ("a: @x\n", "put a value that begins with this character in quotes"),
        ("a: b: c\n", "night.yaml:1:5: this is not YAML: mapping values are not allowed here; check the indentation"),
        ("a: 1\n---\nb: 2\n", "keep one document per file"),
        (
            "a: !!python/object:os.x {}\nb: !x y\n",
            "night.yaml:2:4: this is not YAML: could not determine a constructor",
        ),
        ("a: \x01\n", "remove the control character"),
        (
            "inputs: {}\ntables: {}\ninputs: {}\n",
            "night.yaml:3:1: key inputs is written twice, first at night.yaml:1:1",
        ),
        ("a: &a [*a]\n", "an alias (*name) stands inside of what it names"),
        ("[a, b]: c\n", "night.yaml:1:1: a key has to be a word"),
        ("- a\n", "night.yaml:1:1: a configuration is a mapping of sections (inputs, time_zone, "),
        ("", "night.yaml: the file is empty; a configuration needs at least inputs.interactions.path (`recbatch init"),
        ("# nothing\n", "the file is empty"),
        ("time_zone: UTC\n", "night.yaml:1:1: inputs is missing; it takes a section with the keys interactions, "),
    ],
)
def test_broken_files(message: Load, text: str, said: str) -> None:
    assert said in message(text)


def test_files_that_cannot_be_read(write: Callable[[str], str]) -> None:
    write(MINIMAL)
    Path("latin.yaml").write_bytes(b"inputs:\n  a: caf\xe9\n")
    Path("folder.yaml").mkdir()
    for uri, said in (
        ("nigth.yaml", "nigth.yaml: there is no such file; did you mean night.yaml?"),
        ("far/away.yaml", "far/away.yaml: there is no such file"),
        ("folder.yaml", "folder.yaml: this is a folder; name the YAML file"),
        ("latin.yaml", "latin.yaml:2: byte 0xe9 is not UTF-8; a configuration is YAML text, save it as UTF-8"),
    ):
        with pytest.raises(ConfigError) as error:
            load_config(uri)
        assert str(error.value) == said


def test_set_overrides_any_key(write: Callable[[str], str]) -> None:
    config = load_config(
        write(MINIMAL + "seen: {event_types: [view]}\nmodel:\n  training: {early_stopping: null}\n"),
        [
            "inputs.interactions.columns.event_type=action",
            "inputs.users.path=users.parquet",
            "positives.event_types=[buy, 'a=b']",
            "seen.event_types.0=buy",
            "tables.user2item={k: 5}",
            "tables.user2item.k=6",
            "model.query.features.0.dim=48",
            "model.candidate.layers=[64]",
            "model.training.early_stopping.patience=9",
            "time_zone=Europe/Berlin",
        ],
    )
    assert config.inputs.users is not None
    assert config.inputs.users.path == "users.parquet"
    assert config.positives.event_types == ["buy", "a=b"]
    assert config.seen.event_types == ["buy"]
    assert config.tables.user2item.k == 6
    assert config.model.query.features[0].model_dump()["dim"] == 48
    assert config.model.candidate.layers == [64]
    assert config.model.training.early_stopping is not None
    assert config.model.training.early_stopping.patience == 9
    assert config.time_zone == "Europe/Berlin"


def test_set_can_make_a_whole_configuration(write: Callable[[str], str]) -> None:
    assert load_config(write(""), ["inputs.interactions.path=x"]).inputs.interactions.path == "x"


def test_the_file_is_not_changed_by_set(write: Callable[[str], str]) -> None:
    loaded = read_config(write(MINIMAL + "seen: {event_types: [view]}\n"), ["inputs.interactions.columns.event_type=e"])
    assert loaded.document.place(("seen", "event_types", 0)) == "night.yaml:4:22"
    assert loaded.document.place(("inputs", "interactions", "columns", "event_type")) == (
        "--set inputs.interactions.columns.event_type=e"
    )


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("tables.user2item.k", "--set tables.user2item.k: there is no '='; write --set tables.user2item.k=VALUE"),
        ("tables.user2itm.k", "there is no '='; write --set tables.user2item.k=VALUE"),
        ("=3", "--set =3: '' is not a key; write --set section.key=VALUE"),
        ("tables..k=3", "'tables..k' is not a key"),
        ("tables.user2item.kk=3", "unknown key tables.user2item.kk (its value: 3); did you mean tables.user2item.k?"),
        ("tabels.user2item.k=3", "unknown key tabels (its value: {"),
        ("tabels.user2item.k=3", "did you mean tables?"),
        ("batch-size=3", "did you mean model.training.batch_size?"),
        ("tables.user2item.k=many", 'tables.user2item.k is "many", but has to be a whole number greater than 0'),
        ("tables.user2item=false", "tables.user2item is false, but has to be a section with the keys enabled, k, "),
        (
            "inputs.interactions.path.x=3",
            "--set inputs.interactions.path.x=3: inputs.interactions.path is 'events.parquet', neither a section nor a "
            "list: it has no x",
        ),
        ("model.query.features.1.dim=3", "model.query.features is a list with entries 0 to 0, 1 is none of them"),
        (
            "model.query.features.first.dim=3",
            "model.query.features is a list with entries 0 to 0, first is none of them",
        ),
        ("inputs.interactions.path=[a", "--set inputs.interactions.path=[a: this is not YAML: expected ',' or ']'"),
        ("inputs.interactions.path=*.parquet", "put a value that begins with * in quotes"),
        ("inputs=null", "inputs.interactions is missing"),
    ],
)
def test_wrong_overrides(message: Load, assignment: str, said: str) -> None:
    told = message(MINIMAL, assignment)
    assert said in told
    assert told.startswith(f"--set {assignment}: ")


def test_located_puts_the_place_in_front(write: Callable[[str], str]) -> None:
    loaded = read_config(write(MINIMAL + "tables: {item2item: {model: gs://b/m}}\n"))
    told = loaded.located(ConfigError("the bundle has no item tower", "tables.item2item.model"))
    assert str(told) == "night.yaml:4:22: the bundle has no item tower"
    assert str(loaded.located(ConfigError("no key"))) == "no key"
