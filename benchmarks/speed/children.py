"""Commands timed as a whole: in a process of their own, with the memory that it had at most. And how a bench ends."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from recbatch.errors import RecbatchError

_INTERRUPTED = 130


@dataclass(frozen=True)
class Ran:
    """One run of a command.

    Attributes:
        seconds: from its start to its end.
        cpu_seconds: of all its threads.
        peak_bytes: resident memory at most; of a command with processes of its own that of the largest one, not their
            sum. Linux counts what the process that started it held at that moment as its own, so a figure is never
            below that of the bench itself (some hundred MB).
        output: what it printed.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    output: str

    @property
    def facts(self) -> dict[str, float]:
        """What a result keeps of it."""
        return {"seconds": self.seconds, "cpu_seconds": self.cpu_seconds, "peak_bytes": self.peak_bytes}


def run(words: Sequence[str], variables: Mapping[str, str] | None = None, *, shown: bool = False) -> Ran:
    """Run a command to its end.

    Args:
        words: the command.
        variables: of its environment, beside ours.
        shown: let its error output, where progress is told, go where ours goes.

    Raises:
        RecbatchError: it failed; with the end of what it said.
    """
    started = time.perf_counter()
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complaints:
        environment = dict(os.environ, **(variables or {}))
        child = subprocess.Popen(list(words), stdout=said, stderr=None if shown else complaints, env=environment)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        for stream in (said, complaints):
            stream.seek(0)
        if child.returncode:
            end = "see above" if shown else complaints.read().decode(errors="replace")[-2000:]
            raise RecbatchError(f"`{' '.join(words[:4])} ...` ended with {child.returncode}: {end}")
        cpu = usage.ru_utime + usage.ru_stime
        return Ran(seconds, cpu, usage.ru_maxrss * 1024, said.read().decode(errors="replace"))


def exit_code(main: Callable[[Sequence[str]], int], words: Sequence[str]) -> int:
    """Run a bench's ``main``; a failure that we can explain is told in its sentence, without a traceback."""
    try:
        return main(words)
    except RecbatchError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
