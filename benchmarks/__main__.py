"""Every benchmark behind one command.

    python -m benchmarks                         # what there is, and its question
    python -m benchmarks NAME [--smoke] [--seeds N] [...]
    python -m benchmarks all --smoke             # each at tiny size

Options beside `--smoke` are those of the benchmark: `python -m benchmarks NAME --help`.
"""

import ast
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
MODULES = {
    "derivative_kernel": "derivative_kernel.run",
    "published_tables": "published_tables.run",
    "cokriging": "cokriging.run",
    "few_labels": "cokriging.few_labels",
    "cokriging_search": "cokriging.optimisation",
    "multifidelity_bo": "multifidelity_bo.run",
    "selection": "selection.run",
    "scaling": "scaling.run",
    "strategies_small": "strategies_small.run",
    "strategies": "strategies.run",
    "ethanol": "ethanol.run",
    "trust": "trust.run",
    "on_the_fly": "on_the_fly.run",
    "campaign_engine": "campaign_engine.run",
}


def main(words: Sequence[str] | None = None) -> int:
    """The exit code of what was asked for."""
    name, *rest = list(sys.argv[1:] if words is None else words) or ["--help"]
    if name in ("-h", "--help"):
        sys.stdout.write(f"{(__doc__ or '').strip()}\n\n{listing()}\n")
        return 0
    if name == "all":
        return _every(rest)
    if name not in MODULES:
        sys.stderr.write(f"there is no benchmark {name!r}; there are:\n{listing()}\n")
        return 2
    return _run(name, rest)


def listing() -> str:
    """Names and questions."""
    width = max(map(len, MODULES))
    return "\n".join(f"{name:{width}}  {question(name)}" for name in MODULES)


def question(name: str) -> str:
    """The first line of what a benchmark says of itself."""
    file = HERE / f"{MODULES[name].replace('.', '/')}.py"
    return (ast.get_docstring(ast.parse(file.read_text())) or "").splitlines()[0]


def _every(options: Sequence[str]) -> int:
    failed = []
    for name in MODULES:
        began = time.monotonic()
        code = _run(name, options)
        sys.stdout.write(f"== {name}: {time.monotonic() - began:.0f} s\n")
        sys.stdout.flush()
        failed += [name] * (code != 0)
    if failed:
        sys.stderr.write(f"failed: {', '.join(failed)}\n")
    return int(bool(failed))


def _run(name: str, options: Sequence[str]) -> int:
    command = [sys.executable, "-m", f"benchmarks.{MODULES[name]}", *options]
    return subprocess.run(command, cwd=HERE.parent).returncode


if __name__ == "__main__":
    sys.exit(main())
