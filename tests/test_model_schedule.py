"""How far a fit goes, and the temperature on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from model_data import planted, small_model

from recbatch.config.models import Model
from recbatch.model import fitting
from recbatch.model.data import prepare
from recbatch.model.fitting import TwoTowerFit
from recbatch.model.heldout import split_events
from recbatch.model.schedule import Schedule


def schedule_of(final: float | str | None, kind: str = "cosine", items: int = 1, **training: Any) -> Schedule:
    settings = {"final_temperature": final, "schedule": kind, "epochs": 5, **training}
    return Schedule.of(small_model(training=settings, temperature=0.4), steps_per_epoch=20, num_items=items)


@pytest.mark.parametrize("kind", ["constant", "cosine"])
@pytest.mark.parametrize("final", [0.1, 0.4, 0.8])
def test_the_temperature_goes_from_the_first_to_the_final_one(final: float, kind: str) -> None:
    schedule = schedule_of(final, kind)
    assert schedule.steps == 100
    values = np.array([schedule.temperature(step) for step in range(101)])
    assert values[[0, -1]] == pytest.approx([0.4, final])
    assert (np.diff(values) * np.sign(final - 0.4) >= 0).all()
    assert schedule.temperature(1000) == pytest.approx(final), "later it stays"


def test_it_moves_as_the_learning_rate_is_used_up() -> None:
    rates = 0.5 * (1 + np.cos(np.pi * (np.arange(100_000) + 0.5) / 100_000))
    for step in (10, 50, 75):
        used = rates[: step * 1000].sum() / rates.sum()
        assert schedule_of(0.1).temperature(step) == pytest.approx(0.4 * 0.25**used)
        assert schedule_of(0.1, "constant").temperature(step) == pytest.approx(0.4 * 0.25 ** (step / 100))


def test_without_a_final_temperature_it_stays() -> None:
    assert {schedule_of(None).temperature(step) for step in (0, 1, 50, 100)} == {0.4}


@pytest.mark.parametrize(
    ("items", "share"), [(0, 1), (1_700, 1), (3_400, 2**-0.6), (7_800, 0.401), (10_000, 0.4), (10**9, 0.4)]
)
def test_the_more_items_the_lower_it_falls(items: int, share: float) -> None:
    assert schedule_of("auto", items=items).last == pytest.approx(0.4 * share, rel=2e-3)


def test_a_schedule_until_a_step_ends_where_the_other_was_then() -> None:
    whole = schedule_of(0.1)
    part = whole.until(40)
    assert part.steps == 40
    assert part.temperature(0) == 0.4
    assert part.temperature(40) == pytest.approx(whole.temperature(40))


def _model(**training: Any) -> Model:
    settings = {"epochs": 8, "batch_size": 30, "schedule": "cosine", "final_temperature": 0.05, **training}
    return small_model(training=settings, normalize=True, temperature=0.5, item_bias=True)


@pytest.mark.heavy
def test_towers_keep_the_temperature_of_the_step_that_is_the_result(tmp_path: Path) -> None:
    model, prepared = _model(learning_rate=0.5, early_stopping={"patience": 1, "tolerance": 0}), prepare(planted())
    mask = split_events(model, prepared).heldout
    train, rest = prepared.events.select(~mask), prepared.events.select(mask)
    first = TwoTowerFit("measured", model, prepared, train, rest, tmp_path, "x")
    first.run()
    assert first.state.step < first.schedule.steps, "it was to stop early"
    temperature = first.schedule.temperature(first.result_step)
    assert float(first.candidate.temperature) == pytest.approx(temperature)
    assert first.evaluation is not None
    assert first.evaluation.metrics() == first.state.best_metrics, "what was measured is what is kept"
    bias = first.candidate.item_bias
    assert bias is not None
    rows = first.data.items["id"]
    vectors = first.candidate(first.data.candidate_inputs(tf.range(len(rows))))
    np.testing.assert_allclose(vectors[:, -1], temperature * tf.gather(bias, rows), rtol=1e-5)

    refit = TwoTowerFit(
        "refit", model, prepared, prepared.events, None, tmp_path, "x", first.schedule.until(first.result_step)
    )
    assert refit.run().step == first.result_step
    assert float(refit.candidate.temperature) == pytest.approx(temperature)


def test_each_step_divides_by_the_temperature_of_its_place(tmp_path: Path) -> None:
    model, prepared = _model(early_stopping=None), prepare(planted())
    fit = TwoTowerFit("test", model, prepared, prepared.events, None, tmp_path, "x")
    used, step = [], fit._train_step

    def noted(batch: dict[str, tf.Tensor], seed: Any) -> tf.Tensor:
        used.append(float(fit.candidate.temperature))
        return step(batch, seed)

    fit._train_step = noted
    fit.run()
    assert used == pytest.approx([fit.schedule.temperature(number) for number in range(len(used))])
    assert used[0] == pytest.approx(0.5)
    assert used[-1] < 0.1


def test_the_loss_sees_the_temperature_as_it_is_now(tmp_path: Path) -> None:
    """The step is traced once; a temperature that were baked in would give the same loss twice."""
    prepared = prepare(planted())
    losses = []
    for temperature in (0.5, 0.05):
        fit = TwoTowerFit("test", _model(), prepared, prepared.events, None, tmp_path / str(temperature), "x")
        batch = next(fit._batches.epoch(3, 0, 16))
        arrays = {name: tf.constant(array) for name, array in batch.arrays().items()}
        fit._train_step(arrays, tf.constant([1, 2]))
        fit.candidate.temperature.assign(temperature)
        losses.append(float(fit._train_step(arrays, tf.constant([1, 2]))))
    assert losses[0] != pytest.approx(losses[1], rel=0.05)


class Killed(BaseException):
    """The process is gone."""


def test_a_fit_that_is_killed_in_an_evaluation_goes_on_at_the_same_temperature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "_CHECKPOINT_SECONDS", 0.0)  # after every step
    monkeypatch.setattr(fitting, "_CHECKPOINT_TIMES", 0.0)
    model, prepared = _model(learning_rate=0.1, early_stopping={"patience": 8, "tolerance": 0}), prepare(planted())
    mask = split_events(model, prepared).heldout
    train, rest = prepared.events.select(~mask), prepared.events.select(mask)

    def fit_of(folder: str, temperatures: list[float], last: int = 100) -> TwoTowerFit:
        """A fit that notes the temperature of each evaluation, and dies in the ``last`` one."""
        fit = TwoTowerFit("measured", model, prepared, train, rest, tmp_path / folder, "x")
        assert fit.evaluation is not None
        metrics = fit.evaluation.metrics

        def noting() -> dict[str, float]:
            temperatures.append(float(fit.candidate.temperature))
            if len(temperatures) == last:
                raise Killed
            return metrics()

        monkeypatch.setattr(fit.evaluation, "metrics", noting)
        return fit

    expected: list[float] = []
    found: list[float] = []
    whole = fit_of("whole", expected)
    whole.run()
    with pytest.raises(Killed):
        fit_of("killed", found, last=3).run()
    again = fit_of("killed", found)
    assert again.state.step_in_epoch == again.steps_per_epoch, "it was to die between the last step and the epoch's end"
    again.run()
    assert found[3:] == expected[2:]
    assert vars(again.state) == vars(whole.state)
    for variable, other in zip(again._variables, whole._variables, strict=True):
        np.testing.assert_array_equal(variable, other)
