"""What a measurement was made on, and how its runs become figures."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

from recbatch.errors import RecbatchError

_LIBRARIES = ("recbatch", "apache-beam", "scann", "tensorflow", "pyarrow", "numpy")


def machine() -> dict[str, Any]:
    """Processor, memory, versions, and the kernels that NumPy's BLAS has chosen."""
    cpuinfo = Path("/proc/cpuinfo").read_text() if os.path.exists("/proc/cpuinfo") else ""
    names = [line.split(":", 1)[1].strip() for line in cpuinfo.splitlines() if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    np.ones((2, 2)) @ np.ones((2, 2))
    blas = [
        f"{each['internal_api']} {each['version']} {each.get('architecture', '')}".strip() for each in threadpool_info()
    ]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": names[0] if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": memory,
        "blas": blas,
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in _LIBRARIES},
    }


def line(sizes: Sequence[float], seconds: Sequence[float]) -> tuple[float, float]:
    """(fixed, slope) of ``seconds = fixed + slope * size`` by least squares."""
    slope, fixed = np.polyfit(np.asarray(sizes, float), np.asarray(seconds, float), 1)
    return float(fixed), float(slope)


def rate(seconds_each: float) -> float:
    """How many a second; infinite where the runs of a larger size took as long as those of a smaller one."""
    return 1 / seconds_each if seconds_each else math.inf


def require_rates(rates: Mapping[str, float]) -> None:
    """Look before a result is stored.

    Raises:
        RecbatchError: runs of a larger size took no longer than those of a smaller one.
    """
    for side, each in rates.items():
        if not 0 < each < math.inf:
            raise RecbatchError(
                f"{side}: the larger size took no longer than the smaller one, so its rate is not known; measure on a "
                "quieter machine, or at larger sizes"
            )


def median(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)


def import_seconds(modules: str) -> dict[str, float]:
    """Seconds that importing modules takes, by top-level package: what each package's own modules take."""
    words = [sys.executable, "-X", "importtime", "-c", f"import {modules}"]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stderr
    total: Counter[str] = Counter()
    for row in said.splitlines():
        own, _, name = row.removeprefix("import time:").split("|")
        if own.strip().isdigit():
            total[name.strip().split(".")[0]] += int(own)
    return {name: micros / 1e6 for name, micros in total.most_common(12)}


def write(folder: Path, name: str, result: Mapping[str, Any]) -> Path:
    """Store a measurement as ``<folder>/<name>.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), **result}, indent=1) + "\n")
    return path
