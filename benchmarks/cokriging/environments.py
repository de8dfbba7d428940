"""Workers: one process for each environment, told one task at a time."""

import json
import os
import select
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.derivative_kernel.measured import THREADS

WORKER = Path(__file__).with_name("worker.py")


class Worker:
    """A process of some Python that runs `worker.py` with one thread.

    It is started with the first question, and again after one that took too long.

    Raises:
        RuntimeError: it does not start, with the end of what it said.
    """

    def __init__(self, python: Path, module: str, log: Path) -> None:
        self.python, self.module, self.log = python, module, log
        self._process: subprocess.Popen[str] | None = None
        self._versions: dict[str, str] = {}

    def versions(self) -> dict[str, str]:
        """Of the packages that matter in this environment."""
        self._started()
        return self._versions

    def ask(self, task: Mapping[str, str], limit: float) -> dict[str, Any]:
        """The answer; a failure if it takes longer than `limit` seconds."""
        process = self._started()
        assert process.stdin is not None
        process.stdin.write(json.dumps(task) + "\n")
        process.stdin.flush()
        line = self._line(limit)
        if not line:
            self.close()
            said = self.log.read_text(errors="replace")[-500:]
            failure = f"the process ended: {said}"
            return {"failure": _too_long(limit) if line is None else failure}
        return json.loads(line)

    def close(self) -> None:
        """Ends the process, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _started(self) -> subprocess.Popen[str]:
        if self._process is not None:
            return self._process
        with self.log.open("w") as said:
            self._process = subprocess.Popen(
                # absolute, not resolve: the link to the interpreter marks a venv
                [str(self.python.expanduser().absolute()), str(WORKER), self.module],
                env=os.environ | dict.fromkeys(THREADS, "1"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
            )
        if not (line := self._line(300)):
            self.close()
            raise RuntimeError(
                f"{self.python} cannot run {self.module}, see {self.log}:\n"
                f"{self.log.read_text(errors='replace')[-2000:]}"
            )
        self._versions = json.loads(line)
        return self._process

    def _line(self, limit: float) -> str | None:
        """The next line, empty if the process ended; none if it does not come in time."""
        assert self._process is not None and self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], limit)
        return self._process.stdout.readline() if ready else None


def _too_long(limit: float) -> str:
    return f"took longer than {limit:.0f} s"
