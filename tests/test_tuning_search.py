"""The search around the fits, with fits that are only said: what is recorded, what ends it, what it goes on with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recbatch.config.document import parse
from recbatch.config.load import resolve
from recbatch.errors import InputError
from recbatch.tuning import search as search_module
from recbatch.tuning.child import Evaluated, Failed, Fit, Measured, OutOfTimeError
from recbatch.tuning.search import Limits, Search
from recbatch.tuning.space import Choices, Range
from recbatch.tuning.study import StudyFolder, open_study

CONFIG = resolve(parse("inputs: {interactions: {path: p, columns: {user_id: u, item_id: i}}}", "config.yaml"))
SPACE = (
    Range(("model.training.learning_rate",), 0.001, 0.1, log=True, whole=False),
    Choices(("model.dim",), (16, 32, 64)),
)
IDENTITY = {"metric": "early_stopping", "config": {"model": {"dim": 32}}, "inputs": ["sha256:1"]}

RECALL = "heldout_recall_at_100"
Outcome = Measured | Failed | None
Fits = Callable[[Fit, Callable[[Evaluated], bool], float | None], Outcome]


def measured(recall: float, ndcg: float = 0.0, evaluated: int = 100, measure: str = RECALL) -> Measured:
    metrics = {"heldout_recall_at_100": recall, "heldout_ndcg_at_10": ndcg}
    best = Evaluated(3, metrics, measure, last=True)
    return Measured(best, 5, 50, {"heldout_events_evaluated": evaluated}, "newest")


def by_rate(fit: Fit, goes_on: Callable[[Evaluated], bool], deadline: float | None) -> Outcome:
    """A smaller rate is better; wide towers diverge."""
    if fit.model.dim == 64:
        return Failed("training diverged: the loss is nan at step 3")
    return measured(1 - fit.model.training.learning_rate)


def run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, fits: Fits = by_rate, trials: int = 12, **changes: Any
) -> list[dict[str, Any]]:
    """The log of a search in ``folder``."""
    monkeypatch.setattr(search_module, "run_fit", fits)
    with open_study(str(folder), IDENTITY) as study:
        searching(study, trials, **changes).run()
    return read_log(folder)


def searching(study: StudyFolder, trials: int, **changes: Any) -> Search:
    limits = Limits(trials, changes.pop("seconds", None))
    settings: dict[str, Any] = {
        "space": SPACE,
        "loaded": CONFIG,
        "metric": "early_stopping",
        "data_name": "d",
    } | changes
    return Search(study, limits=limits, **settings)


def read_log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]


def without_seconds(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def test_failures_are_recorded_and_the_search_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = run(tmp_path / "study", monkeypatch)
    assert [row["trial"] for row in rows] == list(range(1, 13))
    assert rows[0]["as_configured"]
    assert rows[0]["parameters"] == {"model.training.learning_rate": 0.003, "model.dim": 32}
    failed = [row for row in rows if row["parameters"]["model.dim"] == 64]
    assert failed
    assert {(row["state"], row["score"], row["reason"]) for row in failed} == {
        ("failed", None, "training diverged: the loss is nan at step 3")
    }
    done = [row for row in rows if row["state"] == "complete"]
    assert all(row["score"] == pytest.approx(1 - row["parameters"]["model.training.learning_rate"]) for row in done)
    assert (rows[0]["metrics"]["heldout_recall_at_100"], rows[0]["best_epoch"], rows[0]["steps"]) == (0.997, 3, 50)
    with open_study(str(tmp_path / "study"), IDENTITY) as study:
        best = searching(study, 12).best()
    assert best is not None
    assert best.score == max(row["score"] for row in done)
    assert best.values == rows[best.number - 1]["parameters"] or best.number == 1


def test_a_search_that_was_stopped_makes_the_trials_it_would_have_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(tmp_path / "whole", monkeypatch, trials=14)
    run(tmp_path / "study", monkeypatch, trials=5)
    calls = 0

    def interrupted(fit: Fit, goes_on: Callable[[Evaluated], bool], deadline: float | None) -> Outcome:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return by_rate(fit, goes_on, deadline)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "study", monkeypatch, interrupted, trials=14)
    assert read_log(tmp_path / "study")[-1]["state"] == "unfinished"
    assert without_seconds(run(tmp_path / "study", monkeypatch, trials=14)) == without_seconds(whole)
    calls = -100
    assert without_seconds(run(tmp_path / "study", monkeypatch, interrupted, trials=14)) == without_seconds(whole)
    assert calls == -100, "there was nothing to do"


def test_a_torn_journal_line_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(tmp_path / "whole", monkeypatch, trials=6)
    run(tmp_path / "study", monkeypatch, trials=3)
    with (tmp_path / "study" / "journal.log").open("a") as journal:
        journal.write('{"op_code":4,"wor')
    assert without_seconds(run(tmp_path / "study", monkeypatch, trials=6)) == without_seconds(whole)


def test_a_trial_that_kills_the_search_twice_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class KilledError(BaseException):
        """As far as the journal can tell, a kill: nobody tidies up after it."""

    def killing(fit: Fit, goes_on: Callable[[Evaluated], bool], deadline: float | None) -> Outcome:
        if fit.model.training.learning_rate != 0.003:
            raise KilledError
        return measured(0.5)

    for _ in range(2):
        with pytest.raises(KilledError):
            run(tmp_path, monkeypatch, killing, trials=3)
    rows = run(tmp_path, monkeypatch, by_rate, trials=3)
    assert [row["state"] for row in rows][:2] == ["complete", "failed"]
    assert rows[1]["reason"] == "the search was killed 2 times while it ran"
    assert rows[2]["state"] != "unfinished"


def test_the_same_values_are_not_fitted_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = []

    def counting(fit: Fit, goes_on: Callable[[Evaluated], bool], deadline: float | None) -> Outcome:
        fitted.append(fit.model.dim)
        return measured(fit.model.dim / 100)

    rows = run(tmp_path, monkeypatch, counting, trials=12, space=(Choices(("model.dim",), (16, 32, 64)),))
    assert sorted(fitted) == [16, 32, 64]
    assert fitted[0] == 32, "the configuration as it is comes first"
    twins = [row for row in rows if row["same_as"] is not None]
    assert len(twins) == 9
    assert all(
        row["score"] == row["parameters"]["model.dim"] / 100 == rows[row["same_as"] - 1]["score"] for row in twins
    )


def test_trials_below_the_median_are_ended_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def epochs(fit: Fit, goes_on: Callable[[Evaluated], bool], deadline: float | None) -> Outcome:
        good = len(rates) < 5
        rates.append(fit.model.training.learning_rate)
        recall = 0.5 if good else 0.1
        for epoch in range(1, 6):
            evaluated = Evaluated(epoch, {RECALL: recall + epoch / 100}, RECALL, last=epoch == 5)
            if not goes_on(evaluated):
                return None
        return measured(recall)

    rates: list[float] = []
    rows = run(tmp_path, monkeypatch, epochs, trials=8, space=SPACE[:1])
    assert [row["state"] for row in rows] == ["complete"] * 5 + ["pruned"] * 3
    assert rows[-1]["reason"] == "below the median of the others after epoch 2"
    assert rows[-1]["score_by_epoch"] == {"1": pytest.approx(0.11), "2": pytest.approx(0.12)}
    assert rows[0]["score_by_epoch"].keys() == set("12345")


def test_the_last_evaluation_ends_nothing_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def one(fit: Fit, goes_on: Callable[[Evaluated], bool], deadline: float | None) -> Outcome:
        recall = 1 / (2 + len(seen))
        seen.append(fit)
        assert goes_on(Evaluated(5, {RECALL: recall}, RECALL, last=True))
        return measured(recall)

    seen: list[Fit] = []
    assert {row["state"] for row in run(tmp_path, monkeypatch, one, trials=8, space=SPACE[:1])} == {"complete"}


def test_the_time_is_that_of_all_trials_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(fit: Fit, goes_on: Callable[[Evaluated], bool], deadline: float | None) -> Outcome:
        assert deadline is not None
        clock[0] += 30
        if clock[0] > deadline:
            clock[0] = deadline
            raise OutOfTimeError
        return measured(0.5)

    clock = [1000.0]
    monkeypatch.setattr(search_module.time, "monotonic", lambda: clock[0])
    rows = run(tmp_path, monkeypatch, slow, seconds=70)
    assert [(row["state"], row["seconds"]) for row in rows] == [("complete", 30), ("complete", 30), ("unfinished", 10)]
    clock[0] = 5000.0
    assert run(tmp_path, monkeypatch, slow, seconds=70) == rows, "the time is up"
    rows = run(tmp_path, monkeypatch, slow, seconds=105)
    assert [row["state"] for row in rows] == ["complete"] * 3 + ["unfinished"]
    assert rows[2]["seconds"] == 40, "ten in the first attempt, thirty in the second"


def test_ties_are_broken_and_the_first_of_equals_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def tied(fit: Fit, goes_on: Callable[[Evaluated], bool], deadline: float | None) -> Outcome:
        return measured(0.5, {16: 0.2, 32: 0.1, 64: 0.2}[fit.model.dim])

    for metric in ("early_stopping", "ndcg_at_10"):
        folder = tmp_path / metric
        rows = run(folder, monkeypatch, tied, trials=10, space=SPACE[1:], metric=metric)
        with open_study(str(folder), IDENTITY) as study:
            best = searching(study, 10).best()
        assert best is not None
        assert best.score == {"early_stopping": 0.5, "ndcg_at_10": 0.2}[metric]
        assert best.number == next(row["trial"] for row in rows if row["parameters"]["model.dim"] != 32)


def test_what_was_measured_on_other_events_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fewer(fit: Fit, goes_on: Callable[[Evaluated], bool], deadline: float | None) -> Outcome:
        return measured(0.5) if fit.model.dim == 32 else measured(0.9, evaluated=60)

    rows = run(tmp_path, monkeypatch, fewer, space=SPACE[1:])
    others = [row for row in rows if row["parameters"]["model.dim"] != 32]
    assert {row["state"] for row in others} == {"failed"}
    assert "asked for 60 held-out events, the others for 100" in others[0]["reason"]


def test_what_was_measured_otherwise_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(fit: Fit, goes_on: Callable[[Evaluated], bool], deadline: float | None) -> Outcome:
        return measured(0.5) if fit.model.dim == 32 else measured(0.9, measure="heldout_ndcg_at_10")

    rows = run(tmp_path / "stopping", monkeypatch, other, space=SPACE[1:])
    assert {row["state"] for row in rows if row["parameters"]["model.dim"] != 32} == {"failed"}
    assert any("its score is heldout_ndcg_at_10, that of the others" in (row["reason"] or "") for row in rows)
    rows = run(tmp_path / "named", monkeypatch, other, space=SPACE[1:], metric="recall_at_100")
    assert {row["score"] for row in rows} == {0.5, 0.9}


def test_data_that_does_not_fit_ends_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unfit(fit: Fit, goes_on: Callable[[Evaluated], bool], deadline: float | None) -> Outcome:
        return Failed("there is nothing to train on", is_input=True)

    for _ in range(3):
        with pytest.raises(InputError, match="there is nothing to train on"):
            run(tmp_path, monkeypatch, unfit)
    assert [row["state"] for row in run(tmp_path, monkeypatch, by_rate, trials=1)] == ["complete"]
