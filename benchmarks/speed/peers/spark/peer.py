"""`recommendForAllUsers` of Spark's ALS, for given vectors: ``python peer.py '{"users": ...}'``.

The vectors are written as an `ALSModel` that had been fitted and saved, which Spark loads: nothing is fitted. Writing
it is not a part of what is measured (step ``prepare``). It imports nothing of this project, so that it can be read
alone, and runs in the environment of the lock beside it; Java is the machine's.

Spark's own settings: blocks of 1,024 vectors instead of 4,096, and 4 partitions in a shuffle instead of 200, made no
difference. Spark 4.3 uses Java's vector instructions by itself where the machine has no BLAS for it. Its integer ids
become the inputs' by broadcast joins.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_STARTED = time.perf_counter()
_FILES = 4
"""Files of each side's vectors, so that both cores read."""


class Clock:
    """Seconds of named steps, one after the other."""

    def __init__(self) -> None:
        self.seconds = {"start": time.perf_counter() - _STARTED}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """What happened since the last call was ``name``."""
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now


def main(task: Mapping[str, Any]) -> dict[str, Any]:
    """Do ``task`` and say how long its steps took.

    Args:
        task: ``users`` and ``items`` (paths), ``output`` (a folder), ``scratch`` (a folder), ``k``, ``threads``,
            ``memory`` (of the JVM, as Spark wants it: "4g").
    """
    clock = Clock()
    from pyspark.ml.recommendation import ALSModel
    from pyspark.sql import functions as sql

    clock.lap("imports")
    spark = session(task)
    clock.lap("jvm")
    folder = Path(task["scratch"]) / "als"
    sizes = prepare(task, folder, spark.version)
    clock.lap("prepare")
    model = ALSModel.load(str(folder / "model"))
    clock.lap("model")
    best = model.recommendForAllUsers(min(task["k"], sizes["items"]))
    rows = best.select("user", sql.posexplode("recommendations").alias("position", "best"))
    rows = rows.select("user", "position", sql.col("best.item").alias("item"), sql.col("best.rating").alias("score"))
    for side in ("user", "item"):
        names = spark.read.parquet(str(folder / f"{side}_names.parquet"))
        rows = rows.join(sql.broadcast(names), side)
    rank = (sql.col("position") + 1).alias("rank")
    rows = rows.select(
        sql.col("user_name").alias("query_id"), rank, sql.col("item_name").alias("candidate_id"), "score"
    )
    rows.write.mode("overwrite").option("compression", "snappy").parquet(task["output"])
    clock.lap("search and write")
    facts = {"versions": {"pyspark": spark.version, "java": java(spark)}, "blas": [blas(spark)]}
    peak = jvm_peak_bytes(spark)
    spark.stop()
    clock.lap("stop")
    return {"seconds": clock.seconds, "jvm_peak_bytes": peak, **facts}


def session(task: Mapping[str, Any]) -> Any:
    """Spark in one process, ``local[threads]``, that talks to this machine alone."""
    from pyspark.sql import SparkSession

    settings = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": task["memory"],
        "spark.local.dir": task["scratch"],
    }
    builder = SparkSession.builder.master(f"local[{task['threads']}]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def prepare(task: Mapping[str, Any], folder: Path, version: str) -> dict[str, int]:
    """Write the model that Spark would have saved, and its integer ids' names; returns the rows of each side."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    shutil.rmtree(folder, ignore_errors=True)
    sizes, rank = {}, 0
    for side, one in (("users", "user"), ("items", "item")):
        table = pq.read_table(task[side]).combine_chunks()
        lists = table.column("embedding").chunk(0)
        sizes[side], rank = len(table), len(lists.values) // len(table)
        numbers = pa.array(np.arange(len(table), dtype=np.int32))
        factors, step = folder / "model" / f"{one}Factors", -(-len(table) // _FILES)
        factors.mkdir(parents=True)
        for first in range(0, len(table), step):
            part = pa.table({"id": numbers, "features": lists}).slice(first, step)
            pq.write_table(part, factors / f"part-{first}.parquet")
        pq.write_table(pa.table({one: numbers, f"{one}_name": table.column("id")}), folder / f"{one}_names.parquet")
    columns = {"userCol": "user", "itemCol": "item", "predictionCol": "prediction"}
    metadata = {
        "class": "org.apache.spark.ml.recommendation.ALSModel",
        "timestamp": 0,
        "sparkVersion": version,
        "uid": "ALS_given",
        "paramMap": columns,
        "defaultParamMap": {"blockSize": 4096, "coldStartStrategy": "nan"} | columns,
        "rank": rank,
    }
    (folder / "model" / "metadata").mkdir()
    (folder / "model" / "metadata" / "part-00000").write_text(json.dumps(metadata))
    return sizes


def java(spark: Any) -> str:
    """The version of Java."""
    return str(spark._jvm.java.lang.System.getProperty("java.version"))


def blas(spark: Any) -> str:
    """The BLAS that Spark's matrix products use: a native one where the machine has it, else Java's."""
    libraries = spark._jvm.dev.ludovic.netlib.blas
    try:
        chosen = libraries.NativeBLAS.getInstance()
    except Exception:  # no libblas on this machine: Spark does the same
        chosen = libraries.JavaBLAS.getInstance()
    return str(chosen.getClass().getName())


def jvm_peak_bytes(spark: Any) -> int:
    """Resident memory of the JVM at most."""
    status = Path(f"/proc/{spark._jvm.java.lang.ProcessHandle.current().pid()}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
