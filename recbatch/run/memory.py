"""How much memory this process has taken."""

from __future__ import annotations

import resource
import sys


def peak_rss_bytes() -> int:
    """Most memory that this process has held so far, in bytes: all that it has done since it was started counts."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
