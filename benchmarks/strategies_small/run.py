"""What does each strategy reach per cost, and which lose to random choice?

    python -m benchmarks.strategies_small.run [--systems methanol,copper] [--seeds 5]
                                              [--smoke | --report]

Every campaign is kept in the work folder with a hash of the code and the data it came
of, so that a run that was interrupted goes on. `--report` runs nothing: it writes the
tables and the figure from what is kept.
"""

import argparse
import ast
import hashlib
import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase
import numpy
import torch

import mfal
from benchmarks.derivative_kernel.measured import machine
from benchmarks.markdown import write_sections
from benchmarks.strategies_small.figure import figure
from benchmarks.strategies_small.learners import learner_of
from benchmarks.strategies_small.replay import Replay
from benchmarks.strategies_small.strategies import STRATEGIES, Strategy
from benchmarks.strategies_small.systems import SYSTEMS
from benchmarks.strategies_small.tables import sections
from mfal.data.files import write_text

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SOURCES = (
    "systems",
    "known_features",
    "learners",
    "compressed",
    "strategies",
    "replay",
)
ROOMS = ("acquisition", "kernels", "descriptors")
"""Rooms of mfal whose code is a part of the hash, with the two engines."""
ENGINES = ("exact", "fitting", "evidence", "pool", "sparse", "weight_fit", "weights")


def main(words: Sequence[str] | None = None) -> None:
    options = _options(words)
    work = options.work / "smoke" if options.smoke else options.work
    facts = {"versions": versions(), "machine": machine(torch.get_num_threads())}
    code = code_hash()
    if not options.report:
        replay_all(options, work, code)
    document = {"question": (__doc__ or "").splitlines()[0], **facts}
    document["systems"] = {
        name: kept_results(work / name, options.seeds) for name in options.systems
    }
    if any(r["settings"]["code"] != code for r in _results(document)):
        print("some of the results are of other code than that which is here")
    tables = sections(document)
    print("\n\n".join(tables.values()))
    target = work if options.smoke else HERE
    figure(document).savefig(target / "learning.png", dpi=200)
    if options.smoke:
        return
    write_text(HERE / "results.json", json.dumps(document, indent=1) + "\n")
    write_sections(HERE / "README.md", tables)


def replay_all(options: argparse.Namespace, work: Path, code: str) -> None:
    """All campaigns, seed after seed, so that what is finished can be compared."""
    replays: dict[str, Replay] = {}
    for seed in range(options.seeds):
        for name in options.systems:
            if name not in replays:
                system = SYSTEMS[name](options.smoke)
                replays[name] = Replay(system, learner_of(system, work, options.smoke))
            for strategy in STRATEGIES:
                one(replays[name], strategy, seed, work / name, code)


def one(
    replay: Replay, strategy: Strategy, seed: int, folder: Path, code: str
) -> dict[str, Any]:
    """One campaign, run unless it is kept."""
    system = replay.system
    settings = {"code": code, "data": system.fingerprint}
    file = folder / f"{_slug(strategy.name)}_{seed}.json"
    if file.exists():
        found: dict[str, Any] = json.loads(file.read_text())
        if found["settings"] == settings:
            return found
    found = {
        "settings": settings,
        "strategy": strategy.name,
        "seed": seed,
        "budget": system.budget,
        "cost_unit": system.cost_unit,
        "costs": dict(system.costs),
        **replay.run(strategy, seed),
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps(found) + "\n")
    print(f"{file.parent.name}/{file.name}: {found['cpu_seconds']:.1f} s", flush=True)
    return found


def kept_results(folder: Path, seeds: int) -> list[dict[str, Any]]:
    """The campaigns of the seeds of which every strategy is there."""
    found = []
    for seed in range(seeds):
        files = [folder / f"{_slug(s.name)}_{seed}.json" for s in STRATEGIES]
        if all(file.exists() for file in files):
            found += [json.loads(file.read_text()) for file in files]
    return found


def code_hash() -> str:
    """Hash of the code that a result depends on, whatever its layout."""
    files = [HERE / f"{name}.py" for name in SOURCES]
    for room in ROOMS:
        files += sorted((ROOT / "mfal" / room).glob("*.py"))
    files += [ROOT / "mfal" / "models" / f"{name}.py" for name in ENGINES]
    digest = hashlib.sha256()
    for file in files:
        digest.update(ast.dump(ast.parse(file.read_text())).encode())
    return digest.hexdigest()[:16]


def versions() -> dict[str, str]:
    """Of what was measured, and of what it stands on."""
    modules = {"mfal": mfal, "ase": ase, "numpy": numpy, "torch": torch}
    found = {name: str(m.__version__) for name, m in modules.items()}
    return found | {"python": platform.python_version()}


def _results(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [r for results in document["systems"].values() for r in results]


def _slug(name: str) -> str:
    kept = "".join(c if c.isalnum() else " " for c in name)
    return "_".join(kept.split())


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--systems", type=lambda t: t.split(","), default=list(SYSTEMS))
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--work", type=Path, default=Path("campaigns/strategies_small"))
    parser.add_argument("--report", action="store_true", help="from what is kept")
    parser.add_argument("--smoke", action="store_true", help="tiny, no other data")
    options = parser.parse_args(words)
    if options.seeds is None:
        options.seeds = 1 if options.smoke else 5
    return options


if __name__ == "__main__":
    main()
