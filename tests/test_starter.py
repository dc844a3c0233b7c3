"""`recbatch init`: what it prints can be loaded, explains itself and suggests features that work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from starter_data import ROWS, codes, config_of, ids, of, seconds, stars, start, write

from recbatch.config.columns import feature_columns
from recbatch.config.load import load_config
from recbatch.config.models import Model
from recbatch.errors import InputError
from recbatch.starter import starter_config


def test_the_printed_config_loads_from_a_file(tmp_path: Path) -> None:
    users = {"id": pa.array(range(50)), "age": pa.array(range(50)), "gender": pa.array(["F", "M"] * 25)}
    items = {
        "item_id": pa.array(range(60)),
        "title": pa.array([f"The long film {number} (1995)" for number in range(60)]),
        "genres": pa.array(["Action|Drama", "Drama|Comedy|War", "Comedy"] * 20),
    }
    events = {"user_id": ids(50), "item_id": ids(60), "ts": seconds(), "device": of("tv", "web")}
    text = starter_config(
        write(tmp_path / "events.parquet", events),
        write(tmp_path / "users.parquet", users),
        write(tmp_path / "items.parquet", items),
    )
    (tmp_path / "my.yaml").write_text(text)
    config = load_config(str(tmp_path / "my.yaml"))
    assert config.inputs.users is not None
    assert config.inputs.items is not None
    assert (config.inputs.users.id, config.inputs.items.id, config.inputs.items.label) == ("id", "item_id", "title")
    assert "100% of the user ids in the interactions looked at occur" in text
    assert "--ds 2014-05-13" in text  # the newest day: the end of the timestamps
    for line in (
        "# - {kind: number, column: age}  # numbers from 0 to 49",
        "# - {kind: category, column: gender}  # 2 different values in the rows looked at",
        "# - {kind: text, column: title}  # free text, 5 words on average",
        '# - {kind: multi_category, column: genres, separator: "|"}  # values with | between, 4 different values',
        "# context: [device]",
        "# - {kind: category, column: device}  # 2 different values in the rows looked at, needs it in inputs.int",
    ):
        assert line in text


def test_every_suggested_feature_works_when_uncommented(tmp_path: Path) -> None:
    users = {
        "customer": ids(50),
        "is_member": of(True, False),
        "zip": codes(5),
        "odd, name: {x}": of("a", "b"),
        "tags": pa.array([["a", "b"], ["a"], []] * (ROWS // 3)),
        "height": stars(),
    }
    text = starter_config(
        write(tmp_path / "e.parquet", {"customer": ids(50), "sku": ids(60), "country": of("DE", "FR")}),
        users=write(tmp_path / "u.parquet", users),
    )
    uncommented = text.replace("# context:", "context:").replace("# - {kind", "- {kind")
    config = config_of(uncommented)
    columns = feature_columns(config, [config.model])
    assert columns.users == {
        "is_member": pa.string(),
        "zip": pa.string(),
        "odd, name: {x}": pa.string(),
        "tags": pa.list_(pa.string()),
        "height": pa.float32(),
    }
    assert columns.context == {"country": pa.string()}


def test_columns_that_are_no_features_say_why(tmp_path: Path) -> None:
    items = {
        "id": pa.array(range(ROWS)),
        "url": pa.array([f"http://x/{number}" for number in range(ROWS)]),
        "released": seconds().cast(pa.timestamp("s")),
        "same": of("one"),
        "empty": pa.nulls(ROWS, pa.string()),
        "vector": pa.array([[0.5, 0.25]] * ROWS),
    }
    text = starter_config(
        write(tmp_path / "e.parquet", {"user": ids(50), "item": ids(60)}), items=write(tmp_path / "i.parquet", items)
    )
    for line in (
        "#   (not url: 300 different values in 300 rows: too many to learn from)",
        "#   (not released: a time; a number made from it (an age, a year) could be a feature)",
        "#   (not same: the same value in every row looked at)",
        "#   (not empty: without any value in the rows looked at)",
        "#   (not vector: list<element: double>, which no feature reads)",
    ):
        assert line in text


def test_weights_and_event_types_come_with_examples(tmp_path: Path) -> None:
    events = pa.array(["view"] * 200 + ["buy: now"] * 100)
    text = start(tmp_path, {"user": ids(50), "item": ids(60), "rating": stars(), "event": events})
    config = config_of(text.replace("# min_weight", "min_weight").replace("# event_types", "event_types"))
    assert "Only events with at least this rating (1 to 5 in the rows looked at):" in text
    assert 'Only some of the event types view, "buy: now":' in text
    assert config.positives.event_types == ["buy: now"]
    assert config.positives.min_weight is not None
    assert 1 <= config.positives.min_weight <= 5


def test_folders_globs_and_partitions(tmp_path: Path) -> None:
    for day in ("2024-01-01", "2024-01-02"):
        folder = tmp_path / "events" / f"ds={day}"
        folder.mkdir(parents=True)
        write(folder / "part.parquet", {"user": ids(50), "item": ids(60)})
        (folder / "_SUCCESS").touch()
    for path in (tmp_path / "events", tmp_path / "events" / "*" / "*.parquet"):
        text = starter_config(str(path))
        interactions = config_of(text).inputs.interactions
        assert interactions.path == str(path)
        assert (interactions.columns.timestamp, interactions.timestamp_unit) == ("ds", "iso")
        assert "(2 files, 600 rows looked at)" in text
        assert "--ds 2024-01-02" in text


def test_only_some_rows_are_read(tmp_path: Path) -> None:
    rows = 50_000
    table = {"user": np.arange(rows), "item": np.arange(rows), "ts": 1_300_000_000 + np.arange(rows) * 1000}
    text = starter_config(write(tmp_path / "e.parquet", table))
    assert "(1 file, 20,000 rows looked at)" in text
    assert "--ds 2012-10-11" in text  # of the file's last row, which the footer knows


def test_names_of_any_kind_stay_on_their_line(tmp_path: Path) -> None:
    text = start(tmp_path, {"user\nid": ids(50), "item # id": ids(60), "yes": of("a", "b"), "🎬\x07": of("a", "b")})
    columns = config_of(text).inputs.interactions.columns
    assert (columns.user_id, columns.item_id) == ("user\nid", "item # id")


def test_the_model_is_the_default_one_with_ids_and_history_only(tmp_path: Path) -> None:
    default = load_config(str(Path(__file__).resolve().parents[1] / "configs" / "movielens-100k.yaml")).model
    plain = default.model_dump()
    for tower in ("query", "candidate"):
        features = plain[tower]["features"]
        plain[tower]["features"] = [feature for feature in features if feature["kind"] in ("id", "history")]
    assert config_of(start(tmp_path, {"user": ids(50), "item": ids(60)})).model == Model.model_validate(plain)


def test_wrong_inputs_are_told(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("user,item\n1,2\n")
    for path, said in (
        (str(tmp_path / "event.csv"), r"INTERACTIONS: nothing is at .*; did you mean .*events\.csv"),
        (str(tmp_path / "events.csv"), r"INTERACTIONS: .*events\.csv cannot be read as Parquet"),
        (str(tmp_path / "*.parquet"), "INTERACTIONS: no file matches"),
    ):
        with pytest.raises(InputError, match=said):
            starter_config(path)
    with pytest.raises(InputError, match=r"can be the item id .* it has user \(int64\), when \(timestamp"):
        start(tmp_path, {"user": ids(50), "when": seconds().cast(pa.timestamp("s"))})
    with pytest.raises(InputError, match=r"can be the user id"):
        start(tmp_path, {"price": pa.array([0.5, 1.5]), "basket": pa.array([["a"], ["b"]])})
    events = write(tmp_path / "e.parquet", {"user": ids(50), "item": ids(60)})
    with pytest.raises(InputError, match="--users: nothing is at"):
        starter_config(events, users=str(tmp_path / "users.parquet"))
    with pytest.raises(InputError, match=r"--items: no column of .* can be an id; it has price \(double\)"):
        starter_config(events, items=write(tmp_path / "i.parquet", {"price": pa.array([0.5])}))
