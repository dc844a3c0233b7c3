"""Make and publish the tables of a date with a model that is there.

    python jobs/recommend.py --config=configs/movielens-100k.yaml --model=models/today --output=output --ds=1998-04-23

Options that are not known here are handed to Apache Beam.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from recbatch.cli.main import job


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit code (0 done, 1 failed, 2 usage, config or input error)."""
    return job("recommend", arguments)


if __name__ == "__main__":
    sys.exit(main())
