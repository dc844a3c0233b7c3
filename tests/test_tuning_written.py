"""The configuration that a search writes: what it means, what it keeps of the old one, and what it never overwrites."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import pytest

from recbatch.config.document import parse
from recbatch.config.load import load_config, resolve
from recbatch.config.models import Config
from recbatch.config.overrides import override
from recbatch.errors import InputError
from recbatch.tuning.space import override_words
from recbatch.tuning.written import require_ours, write_config

ROOT = Path(__file__).resolve().parents[1]
COMMENTED = """\
# What we serve.
inputs:
  interactions:
    path: "events/*.parquet"   # every night's
    columns: {user_id: u, item_id: i}

model:
  # as wide as it pays
  dim: 64
  candidate:
    features:
      - kind: id   # the item
        dim: 64
      - {kind: category, column: brand, dim: 8}
      # no text, see the report
  training:
    learning_rate: 0.0030   # halved in May
    early_stopping: null
    # more to come

# The tables.
tables:
  user2item: {k: 50}

"""
WITH_ITEMS = COMMENTED.replace("\nmodel:", "  items: {path: items.parquet, id: i}\n\nmodel:")


def expected(text: str, values: dict[str, Any]) -> Config:
    return resolve(override(parse(text, "c"), override_words(values))).config


def write(path: Path, text: str, values: dict[str, Any]) -> str:
    write_config(str(path), text, expected(text, values), values, ["Trial 3 of 9.", "A long one. " * 30])
    assert load_config(str(path)) == expected(text, values)
    return path.read_text()


def changed_lines(text: str, written: str) -> list[str]:
    """Lines taken away (-) and added (+), without the header."""
    body = written.partition("\n# sha256 of what follows: ")[2].partition("\n")[2]
    lines = difflib.unified_diff(text.splitlines(), body.splitlines(), n=0, lineterm="")
    return [line for line in lines if not line.startswith(("---", "+++", "@@"))]


def test_only_the_tuned_keys_are_changed(tmp_path: Path) -> None:
    values = {
        "model.dim": 32,
        "model.candidate.features.0.dim": 32,
        "model.training.learning_rate": 0.000012,
        "model.temperature": 0.4,
        "model.training.early_stopping.patience": 5,
        "model.query.layers": [64, 32],
    }
    written = write(tmp_path / "best.yaml", WITH_ITEMS, values)
    assert written.startswith("# Written by `recbatch tune`.\n# Trial 3 of 9.\n# A long one. ")
    assert max(map(len, written.partition("sha256")[0].splitlines())) <= 120
    assert changed_lines(WITH_ITEMS, written) == [
        "-  dim: 64",
        "+  query: {features: [{kind: id, dim: 32, min_count: 1, oov_buckets: 1, dropout: 0.0}], combine: concat, "
        "layers: [64, 32], projection: true}",
        "+  temperature: 0.4",
        "+  dim: 32",
        "-        dim: 64",
        "+        dim: 32",
        "-    learning_rate: 0.0030   # halved in May",
        "-    early_stopping: null",
        "+    learning_rate: 1.2e-05  # halved in May",
        "+    early_stopping: {patience: 5}",
    ]


def test_nothing_changed_is_the_same_text(tmp_path: Path) -> None:
    assert changed_lines(COMMENTED.replace("category, column: brand", "id"), "") != []
    written = write(tmp_path / "best.yaml", WITH_ITEMS, {})
    assert written.endswith("\n" + WITH_ITEMS)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*.yaml")), ids=lambda path: path.stem)
def test_the_ready_configs_keep_their_other_lines(tmp_path: Path, path: Path) -> None:
    text = path.read_text()
    values = {"model.training.learning_rate": 0.00123, "model.query.features.0.dim": load_config(str(path)).model.dim}
    written = write(tmp_path / "best.yaml", text, values)
    assert len([line for line in changed_lines(text, written) if line.startswith("-")]) <= 2


@pytest.mark.parametrize(
    "text",
    [
        '{"inputs": {"interactions": {"path": "p", "columns": {"user_id": "u", "item_id": "i"}}}}',
        "inputs: {interactions: {path: p, columns: {user_id: u, item_id: i}}}\nmodel:\n",
        "inputs: {interactions: {path: p, columns: {user_id: u, item_id: i}}}\nmodel: {training: null}\n",
        "inputs:\n    interactions:\n        path: p\n        columns:\n           user_id: u\n           item_id: i\n",
        "\ufeffinputs: {interactions: {path: p, columns: {user_id: u, item_id: i}}}\r\n",
    ],
    ids=["json", "empty section", "null section", "wide indents", "byte order mark"],
)
def test_keys_that_are_not_written_are_added(tmp_path: Path, text: str) -> None:
    values = {"model.training.learning_rate": 0.5, "model.query.features.0.dim": 7, "model.dim": 16}
    write(tmp_path / "best.yaml", text, values)


def test_where_an_alias_would_change_twice_all_keys_are_written_out(tmp_path: Path) -> None:
    text = (
        "inputs: {interactions: {path: p, columns: {user_id: u, item_id: i}}}\n"
        "model:\n  query: &tower\n    features: [{kind: id, dim: 16}]\n  candidate: *tower\n"
    )
    written = write(tmp_path / "best.yaml", text, {"model.query.features.0.dim": 8})
    config = load_config(str(tmp_path / "best.yaml"))
    assert [config.model.query.features[0].dim, config.model.candidate.features[0].dim] == [8, 16]  # type: ignore[union-attr]
    assert "min_recall" in written, "every key is there"


def test_own_files_are_overwritten_and_no_others(tmp_path: Path) -> None:
    mine, config = tmp_path / "best.yaml", tmp_path / "config.yaml"
    config.write_text(WITH_ITEMS)
    require_ours(str(mine), str(config))
    write(mine, WITH_ITEMS, {"model.dim": 16})
    require_ours(str(mine), str(config))
    write(mine, WITH_ITEMS, {"model.dim": 32})
    unchanged = mine.stat().st_mtime_ns
    write(mine, WITH_ITEMS, {"model.dim": 32})
    assert mine.stat().st_mtime_ns == unchanged
    mine.write_text(mine.read_text().replace("k: 50", "k: 60"))
    with pytest.raises(InputError, match="best.yaml is there, and not as a search wrote it"):
        require_ours(str(mine), str(config))
    with pytest.raises(InputError, match="was written by somebody else meanwhile"):
        write(mine, WITH_ITEMS, {"model.dim": 16})
    with pytest.raises(InputError, match="is the configuration that the search starts from"):
        require_ours(f"{tmp_path}/../{tmp_path.name}/config.yaml", str(config))
    with pytest.raises(InputError, match="is a folder"):
        require_ours(str(tmp_path), str(config))
    mine.write_bytes(b"\xff not text")
    with pytest.raises(InputError, match="not as a search wrote it"):
        require_ours(str(mine), str(config))
