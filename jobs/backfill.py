"""Make the nights of a range of dates.

    python jobs/backfill.py --config=configs/movielens-100k.yaml --output=output --from=1998-04-20 --to=1998-04-23

Options that are not known here are handed to Apache Beam.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from recbatch.cli.main import job


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit code (0 done, 1 failed, 2 usage, config or input error)."""
    return job("backfill", arguments)


if __name__ == "__main__":
    sys.exit(main())
