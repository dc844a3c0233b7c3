"""What a night will take, before it is run: sizes of the inputs, rates of this machine, a formula for each stage."""

from __future__ import annotations

from recbatch.planning.calibration import Calibration, EmptyNight, calibrate
from recbatch.planning.forecast import Forecast, forecast, to_json
from recbatch.planning.sample import name_ids, sampled_ids, write_sample
from recbatch.planning.sharding import largest_shards, planned_shards
from recbatch.planning.show import show_forecast
from recbatch.planning.sizes import Sizes, count_sizes

__all__ = [
    "Calibration",
    "EmptyNight",
    "Forecast",
    "Sizes",
    "calibrate",
    "count_sizes",
    "forecast",
    "largest_shards",
    "name_ids",
    "planned_shards",
    "sampled_ids",
    "show_forecast",
    "to_json",
    "write_sample",
]
