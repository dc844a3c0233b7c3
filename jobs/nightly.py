"""The nightly run: train, embed, search, publish.

    python jobs/nightly.py --config=configs/movielens-100k.yaml --output=output --ds=1998-04-23 --runner=DirectRunner

Options that are not known here are handed to Apache Beam.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from recbatch.cli.main import job


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit code (0 done, 1 failed, 2 usage, config or input error)."""
    return job("nightly", arguments)


if __name__ == "__main__":
    sys.exit(main())
