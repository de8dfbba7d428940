"""What does a search for the best cost, with mfal's model and with BoTorch's?

    python -m benchmarks.cokriging.optimisation [--seeds 10] [--smoke]
        [--searches hartmann frameworks solvation] [--strategies mfal botorch]

BoTorch's multi-fidelity loop (max-value entropy per cost) with either model, the same
first labels; beside it expected improvement with the high level alone, and chance. What
is finished is kept in the work folder and not done again with the same code.
"""

import argparse
import json
import time
import warnings
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

import mfal
from benchmarks.cokriging.regret import figure, tables
from benchmarks.cokriging.run import OURS
from benchmarks.cokriging.searches import HIGH, SEARCHES, Hartmann, Label, Search
from benchmarks.cokriging.strategies import STRATEGIES
from benchmarks.derivative_kernel.measured import machine
from benchmarks.markdown import write_sections
from mfal.data.files import write_text

HERE = Path(__file__).parent
CHECKS = 10
"""Times the place where the best is expected is asked for, over the budget."""
MOST_LABELS = 40
"""After the first ones: a strategy that buys only cheap labels ends here."""


def main(words: Sequence[str] | None = None) -> None:
    options = _options(words)
    work = options.work / "smoke" if options.smoke else options.work
    torch.set_num_threads(1)
    results = HERE / "optimisation.json"
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
            runs = [
                kept(work / name / strategy, search, strategy, seed)
                for seed in range(options.seeds)
            ]
            found["strategies"][strategy] = runs
    order = [name for name in SEARCHES if name in document["searches"]]
    document["searches"] = {name: document["searches"][name] for name in order}
    texts = tables(document)
    print("\n\n".join(texts.values()))
    if options.smoke:
        return
    write_text(results, json.dumps(document) + "\n")
    write_sections(HERE / "README.md", texts)
    figure(document).savefig(HERE / "regret.png", dpi=200)


def kept(folder: Path, search: Search, strategy: str, seed: int) -> dict[str, Any]:
    """The run of a seed, from the folder if nothing has changed."""
    file = folder / f"{seed}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    settings = {"code": code_hash(strategy), "budget": search.budget}
    if file.exists():
        found = json.loads(file.read_text())
        if found["settings"] == settings:
            return found["run"]
    run = searched(search, strategy, seed)
    write_text(file, json.dumps({"settings": settings, "run": run}))
    print(folder.parent.name, strategy, seed, _short(run), flush=True)
    return run


def searched(search: Search, strategy: str, seed: int) -> dict[str, Any]:
    """Labels until the budget is spent or the best of a table is bought.

    For each label: what was spent by then, its level, its value, and now and then the
    value of the place where the best is expected.
    """
    torch.manual_seed(seed)
    labels = first_labels(search, strategy, seed)
    n_first = len(labels)
    start = spent = sum(label.cost for label in labels)
    chooser = STRATEGIES[strategy](search, seed)
    began, due = time.process_time(), start
    trace: dict[str, list] = {"spent": [], "expected": []}
    failure = ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            while True:
                done = spent >= search.budget or len(labels) - n_first >= MOST_LABELS
                done = done or bought(labels, search.best)
                if spent >= due or done:
                    trace["spent"].append(spent)
                    trace["expected"].append(chooser.expected_best(labels).value)
                    due = spent + (search.budget - start) / CHECKS
                if done:
                    break
                labels.append(chooser.next(labels))
                spent += labels[-1].cost
        except Exception as error:  # a failure of a model is a result
            failure = f"{type(error).__name__}: {error}"[:300]
    return {
        **trace,
        "first": n_first,
        "levels": [label.level for label in labels],
        "values": [label.value for label in labels],
        "costs": [label.cost for label in labels],
        "cpu_seconds": time.process_time() - began,
        **({"failure": failure} if failure else {}),
    }


def first_labels(search: Search, strategy: str, seed: int) -> list[Label]:
    """The first labels of a seed; those without the low level buy high ones instead.

    They keep the high-level labels of the others and go on at random until as much is
    spent.
    """
    labels = search.first(seed)
    if strategy in ("mfal", "botorch"):
        return labels
    cost = sum(label.cost for label in labels)
    high = [label for label in labels if label.level == HIGH]
    chance = STRATEGIES["random"](search, seed + 1000)
    while True:
        more = chance.next(high)
        if sum(label.cost for label in high) + more.cost > cost:
            return high
        high.append(more)


def bought(labels: Sequence[Label], best: float) -> bool:
    """Whether a label of the high level has reached a value."""
    return any(label.level == HIGH and label.value >= best for label in labels)


def code_hash(strategy: str) -> str:
    """Of the code a run depends on."""
    files = [HERE / f"{name}.py" for name in ("searches", "strategies", "optimisation")]
    if strategy == "mfal":
        package = Path(mfal.__file__).parent
        files += sorted(file for pattern in OURS for file in package.glob(pattern))
    return sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _short(run: dict[str, Any]) -> str:
    if "failure" in run:
        return f"failed: {run['failure'][:100]}"
    high = sum(level == HIGH for level in run["levels"])
    return (
        f"expected best {run['expected'][-1]:.4g} for {run['spent'][-1]:.1f}, "
        f"{len(run['levels'])} labels, {high} high, {run['cpu_seconds']:.0f} s"
    )


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--searches", nargs="+", choices=SEARCHES, default=[*SEARCHES])
    parser.add_argument(
        "--strategies", nargs="+", choices=STRATEGIES, default=[*STRATEGIES]
    )
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
