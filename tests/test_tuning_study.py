"""The folder of a search: whose it is, and who may open it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recbatch.errors import InputError
from recbatch.tuning.study import open_study

IDENTITY = {"metric": "early_stopping", "config": {"model": {"dim": 32}}, "inputs": ["sha256:1"]}
OTHERS = [
    ({"metric": "ndcg_at_10"}, 'holds a search with metric "early_stopping", now it is "ndcg_at_10"'),
    ({"config": {"model": {"dim": 64}}}, "holds a search with config.model.dim 32, now it is 64"),
    ({"config": {"model": {"dim": 32, "item_bias": True}}}, "config.model.item_bias null, now it is true"),
    ({"inputs": ["sha256:2"]}, 'inputs.0 "sha256:1", now it is "sha256:2"'),
    ({"inputs": ["sha256:1", "sha256:2"]}, r"inputs \[.*, now it is \["),
]


@pytest.mark.parametrize(("change", "says"), OTHERS, ids=[str(change) for change, _ in OTHERS])
def test_another_search_is_refused(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    with open_study(str(tmp_path / "study"), IDENTITY):
        pass
    with pytest.raises(InputError, match=says) as error, open_study(str(tmp_path / "study"), IDENTITY | change):
        pass
    assert "choose another folder" in str(error.value)
    with open_study(str(tmp_path / "study"), IDENTITY):
        pass


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    wrong = {
        str(tmp_path): "holds something else than a search",
        str(tmp_path / "notes.txt"): "is a file; name a folder",
        "gs://bucket/study": "is not on this machine",
    }
    for folder, says in wrong.items():
        with pytest.raises(InputError, match=says), open_study(folder, IDENTITY):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "study.json").write_text('{"format": 99}')
    with (
        pytest.raises(InputError, match="is not one that this version wrote"),
        open_study(str(tmp_path / "study"), IDENTITY),
    ):
        pass


def test_one_search_at_a_time(tmp_path: Path) -> None:
    with (
        open_study(str(tmp_path), IDENTITY),
        pytest.raises(InputError, match="another search is running in"),
        open_study(str(tmp_path), IDENTITY),
    ):
        pass
