"""`recbatch init`: a commented configuration to start from, written after a look at the data."""

from __future__ import annotations

from recbatch.starter.starter import starter_config

__all__ = ["starter_config"]
