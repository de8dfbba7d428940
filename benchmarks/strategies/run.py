"""How much does each way of spending a budget on levels save, and which ways lose?

    python -m benchmarks.strategies.run [--systems methanol,copper] [--seeds 5]
                                        [--smoke | --report]

Every campaign is kept in the work folder with a hash of the code and the data it came
of, so that a run that was interrupted goes on. `--report` runs nothing: it writes the
tables and the figure from what is kept.
"""

import argparse
import ast
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.derivative_kernel.measured import machine
from benchmarks.markdown import write_sections
from benchmarks.strategies.figure import figure
from benchmarks.strategies.learners import learner_of
from benchmarks.strategies.replay import Replay
from benchmarks.strategies.sets import SMOKE, SYSTEMS
from benchmarks.strategies.strategies import Strategy, strategies_of
from benchmarks.strategies.systems import System
from benchmarks.strategies.tables import sections
from benchmarks.strategies_small.run import versions
from mfal.data.files import write_text

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SOURCES = ("systems", "sets", "labels", "learners", "strategies", "replay")
SMALL = ("compressed", "known_features", "systems")
"""Files of this folder and of `strategies_small` whose code is a part of the hash,"""
ROOMS = ("acquisition", "kernels", "descriptors")
"""with these rooms of mfal,"""
PARTS = (
    *(
        f"models/{n}"
        for n in ("exact", "fitting", "evidence", "pool", "level_evidence")
    ),
    *(f"models/{n}" for n in ("sparse", "weight_fit", "weights", "reduced_pool")),
    *(f"models/{n}" for n in ("diagnosis", "paired", "verdict")),
    "campaign/planning",
)
"""and these files: the engines, and what is done with the levels."""


def main(words: Sequence[str] | None = None) -> None:
    options = _options(words)
    work = options.work / "smoke" if options.smoke else options.work
    code = code_hash()
    if not options.report:
        replay_all(options, work, code)
    document: dict[str, Any] = {
        "question": (__doc__ or "").splitlines()[0],
        "versions": versions(),
        "machine": machine(torch.get_num_threads()),
        "systems": {
            name: found
            for name in options.systems
            if (found := kept_system(work / name, options.seeds))
        },
    }
    if any(
        r["settings"]["code"] != code
        for s in document["systems"].values()
        for r in s["results"]
    ):
        _say("some of the results are of other code than that which is here")
    texts = sections(document)
    _say("\n\n".join(texts.values()))
    target = work if options.smoke else HERE
    figure(document).savefig(target / "learning.png", dpi=120)
    if options.smoke:
        return
    write_text(HERE / "results.json", json.dumps(document) + "\n")
    write_sections(HERE / "README.md", texts)


def replay_all(options: argparse.Namespace, work: Path, code: str) -> None:
    """All campaigns, seed after seed, so that what is finished can be compared."""
    replays: dict[str, Replay] = {}
    for seed in range(options.seeds):
        for name in options.systems:
            if name not in replays:
                work.mkdir(parents=True, exist_ok=True)
                system = SYSTEMS[name](options.smoke)
                replays[name] = Replay(system, learner_of(system, work, options.smoke))
            settings = {"code": code, "data": replays[name].system.fingerprint}
            for strategy in allowed(replays[name].system):
                one(replays[name], strategy, seed, work / name, settings)


def one(
    replay: Replay,
    strategy: Strategy,
    seed: int,
    folder: Path,
    settings: Mapping[str, str],
) -> None:
    """One campaign, run unless it is kept; what is true of all stands in a file apart."""
    file = folder / f"{_slug(strategy.name)}_{seed}.json"
    if file.exists() and json.loads(file.read_text())["settings"] == settings:
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "system.json", json.dumps(_about(replay.system)) + "\n")
    found = {
        "settings": settings,
        "strategy": strategy.name,
        "seed": seed,
        **replay.run(strategy, seed),
    }
    write_text(file, json.dumps(found) + "\n")
    _say(f"{folder.name}/{file.name}: {found['cpu_seconds']:.1f} s")


def kept_system(folder: Path, seeds: int) -> dict[str, Any] | None:
    """A system with the campaigns of the seeds of which every strategy is there."""
    if not (folder / "system.json").exists():
        return None
    about: dict[str, Any] = json.loads((folder / "system.json").read_text())
    found = []
    for seed in range(seeds):
        files = [folder / f"{_slug(name)}_{seed}.json" for name in about["strategies"]]
        if all(file.exists() for file in files):
            found += [json.loads(file.read_text()) for file in files]
    return {**about, "results": found} if found else None


def code_hash() -> str:
    """Hash of the code that a result depends on, whatever its layout and docstrings."""
    files = [HERE / f"{name}.py" for name in SOURCES]
    files += [HERE.parent / "strategies_small" / f"{name}.py" for name in SMALL]
    for room in ROOMS:
        files += sorted((ROOT / "mfal" / room).glob("*.py"))
    files += [ROOT / "mfal" / f"{name}.py" for name in PARTS]
    digest = hashlib.sha256()
    for file in files:
        digest.update(without_docstrings(file.read_text()).encode())
    return digest.hexdigest()[:16]


def without_docstrings(source: str) -> str:
    """The syntax tree of a source, with no string that stands by itself."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            body[:] = [
                one
                for one in body
                if not (
                    isinstance(one, ast.Expr)
                    and isinstance(one.value, ast.Constant)
                    and isinstance(one.value.value, str)
                )
            ]
    return ast.dump(tree)


def allowed(system: System) -> list[Strategy]:
    """The strategies that the labels allow: energies alone need energies."""
    energies = any(
        label.energy is not None for _, n, label in system.data if n == system.high
    )
    return [s for s in strategies_of(system) if energies or not s.energies]


def _about(system: System) -> dict[str, Any]:
    return {
        "title": system.title,
        "levels": list(system.levels),
        "costs": dict(system.costs),
        "cost_unit": system.cost_unit,
        "budget": system.budget,
        "sizes": vars(system.sizes),
        "measure": system.measure,
        "strategies": [s.name for s in allowed(system)],
    }


def _slug(name: str) -> str:
    kept = "".join(c if c.isalnum() else " " for c in name)
    return "_".join(kept.split())


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--systems", type=lambda t: t.split(","), help="names")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--work", type=Path, default=Path("campaigns/strategies"))
    parser.add_argument("--report", action="store_true", help="from what is kept")
    parser.add_argument("--smoke", action="store_true", help="tiny, no other data")
    options = parser.parse_args(words)
    if options.systems is None:
        options.systems = list(SMOKE if options.smoke else SYSTEMS)
    if options.seeds is None:
        options.seeds = 1 if options.smoke else 5
    return options


if __name__ == "__main__":
    main()
