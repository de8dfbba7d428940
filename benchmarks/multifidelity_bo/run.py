"""Is the best of a table found for less with two levels, and with whose model and choice?

    python -m benchmarks.multifidelity_bo.run [--seeds 20] [--smoke]
        [--searches frameworks solvation] [--strategies informed mfal botorch ...]

Two published tables. BoTorch's multi-fidelity loop with its model and with ours, our own
acquisition function, and one level alone. What is finished is kept in the work folder,
shared with `benchmarks.cokriging.optimisation`, and not done again with the same code.
"""

import argparse
import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

import mfal
from benchmarks.cokriging import optimisation
from benchmarks.cokriging.regret import NAMES, figure, paired_table, tables
from benchmarks.cokriging.searches import SEARCHES, Hartmann, Search
from benchmarks.derivative_kernel.measured import machine
from benchmarks.keeping import kept
from benchmarks.markdown import write_sections
from benchmarks.multifidelity_bo.informed import searched
from mfal.data.files import write_text

HERE = Path(__file__).parent
OURS = ("acquisition/inputs.py", "acquisition/joint.py", "acquisition/level_cost.py")
"""What a run of our acquisition function depends on beside our model."""


def main(words: Sequence[str] | None = None) -> None:
    options = _options(words)
    work = options.work / "smoke" if options.smoke else options.work
    torch.set_num_threads(1)
    results = HERE / "results.json"
    document: dict[str, Any] = {"searches": {}}
    if results.exists() and not options.smoke:  # what is not run now stays
        document = json.loads(results.read_text())
    document["question"] = (__doc__ or "").splitlines()[0]
    document["machine"] = machine(1)
    for name in options.searches:
        search = Hartmann(24.0, (8, 1)) if options.smoke else SEARCHES[name]()
        found = document["searches"].setdefault(name, {"strategies": {}})
        found |= {"title": search.title, "unit": search.unit, "budget": search.budget}
        found |= {"best": search.best, "good": search.good, "costs": search.costs}
        for strategy in options.strategies:
            found["strategies"][strategy] = [
                _run(work / name / strategy, search, strategy, seed)
                for seed in range(options.seeds)
            ]
    texts = tables(document) | {"pairs": paired_table(document["searches"])}
    print("\n\n".join(texts.values()))
    if not options.smoke:
        write_text(results, json.dumps(document) + "\n")
        write_sections(HERE / "README.md", texts)
        figure(document).savefig(HERE / "regret.png", dpi=200)


def _run(folder: Path, search: Search, strategy: str, seed: int) -> dict[str, Any]:
    if strategy != "informed":
        return optimisation.kept(folder, search, strategy, seed)
    package = Path(mfal.__file__).parent
    own = [HERE / "informed.py", *(package / name for name in OURS)]
    code = optimisation.code_hash("mfal").encode()
    code += b"".join(file.read_bytes() for file in own)
    settings = {"code": sha256(code).hexdigest(), "budget": search.budget}
    return kept(
        folder / f"{seed}.json", settings, lambda: {"run": searched(search, seed)}
    )["run"]


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument(
        "--searches",
        nargs="+",
        choices=SEARCHES,
        default=["frameworks", "solvation"],
    )
    parser.add_argument("--strategies", nargs="+", choices=NAMES, default=[*NAMES])
    parser.add_argument(
        "--work", type=Path, default=Path("campaigns/cokriging/optimisation")
    )
    parser.add_argument("--smoke", action="store_true", help="a few labels of Hartmann")
    options = parser.parse_args(words)
    if options.smoke:
        options.searches, options.seeds = ["hartmann"], 1
    return options


if __name__ == "__main__":
    main()
