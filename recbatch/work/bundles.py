"""The night's bundle, wherever it comes from; TensorFlow is imported if there is a model."""

from __future__ import annotations

from recbatch.night import BundleRef, Plan
from recbatch.work.given import describe_given
from recbatch.work.items import Cuts


def make_bundle(plan: Plan, cuts: Cuts) -> BundleRef:
    """The default bundle, there and verified; or what stands in for one where vectors are given."""
    if plan.night.bundle.given:
        describe_given(plan)
        return plan.night.bundle
    from recbatch.work.training import train_night

    return train_night(plan, cuts)
