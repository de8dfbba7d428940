"""Runs a command and writes what it cost.

    python launcher.py COST.json LOG PROGRAM [ARGUMENT...]

Wall time, CPU time and peak memory are those of the command with the processes it
waited for. This is a program of its own, and a small one, because a new process starts
with the peak memory of the one that made it.
"""

import json
import os
import subprocess
import sys
import time


def main() -> None:
    cost, log, *command = sys.argv[1:]
    begin = time.perf_counter()
    with open(log, "w") as said:
        child = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(child.pid, 0)
    found = {
        "wall_seconds": time.perf_counter() - begin,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_memory_MB": usage.ru_maxrss * 1024 / 1e6,  # KiB on Linux
        "exit_code": os.waitstatus_to_exitcode(status),
    }
    with open(cost, "w") as file:
        json.dump(found, file)


if __name__ == "__main__":
    main()
