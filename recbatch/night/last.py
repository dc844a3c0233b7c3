"""The last night: the newest published date before this one, whose model this night is measured by."""

from __future__ import annotations

from dataclasses import dataclass

from recbatch.night.jobs import BundleRef


@dataclass(frozen=True)
class LastNight:
    """What a night takes from the one before.

    Attributes:
        ds: its date.
        bundle: the bundle that its tables were made with.
        name: names the bundle's content; part of the name of this night's run.
        obstacle: why the bundle can neither be compared with nor used tonight; None: it can.
    """

    ds: str
    bundle: BundleRef
    name: str
    obstacle: str | None = None
