"""Does a campaign that explores know hotter structures than one that does not, at one cost?

    python -m benchmarks.on_the_fly.run [--seeds 3] [--smoke]

The campaign of `tutorials/campaigns/copper_md.yaml` (copper, EMT as the high level), with
its section `explore`, without it, and with a bias along the gradient of sigma; all spend
the same budget from the same pool of small displacements. Judged on snapshots of dynamics
that EMT itself drives at constant pressure, at temperatures the pool knows nothing of.
"""

import argparse
import json
import platform
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase
import numpy as np
import torch
from ase import Atoms
from ase.calculators.emt import EMT

import mfal
from benchmarks.derivative_kernel.measured import machine
from benchmarks.markdown import table, write_sections
from mfal.calculators.exploring import Ensemble
from mfal.campaign import Campaign, CampaignConfig, CampaignStore, load_campaign
from mfal.data import Label
from mfal.data.files import write_text
from mfal.models.evaluation import evaluation
from mfal.models.storage import load_potential

HERE = Path(__file__).parent
CAMPAIGN = HERE.parents[1] / "tutorials" / "campaigns" / "copper_md.yaml"
TEMPERATURES = (300.0, 600.0, 1200.0)
ARMS = ("pool", "explore", "biased")
BIAS = 0.1


def main(words: Sequence[str] | None = None) -> None:
    options = _options(words)
    config = load_campaign(CAMPAIGN)
    if options.smoke:
        config = _smaller(config)
    n = 4 if options.smoke else 40
    tests = {f"{t:g} K": snapshots(config.start(), t, n) for t in TEMPERATURES}
    rows: list[dict[str, Any]] = []
    for seed in range(1 if options.smoke else options.seeds):
        for arm in ARMS:
            rows.append(_measured(_arm(config, arm, seed), arm, seed, tests))
            print(json.dumps(rows[-1]), flush=True)
    document = {
        "question": (__doc__ or "").splitlines()[0],
        "versions": {
            **{m.__name__: m.__version__ for m in (mfal, ase, torch, np)},
            "python": platform.python_version(),
        },
        "machine": machine(torch.get_num_threads()),
        "rows": rows,
    }
    if not options.smoke:
        write_text(HERE / "results.json", json.dumps(document, indent=1) + "\n")
        write_sections(HERE / "README.md", {"table": summary(rows)})
    print(summary(rows))


def snapshots(
    atoms: Atoms, temperature: float, n: int, *, seed: int = 1000
) -> list[tuple[Atoms, Label]]:
    """Structures of EMT dynamics at no pressure, with their labels."""
    rng = np.random.default_rng([seed, int(temperature)])
    moving = atoms.copy()
    moving.calc = EMT()
    ensemble = Ensemble(temperature, pressure=0.0, timestep=4.0)
    dynamics = ensemble.dynamics(moving, rng)
    dynamics.run(500)
    found = []
    for _ in range(n):
        dynamics.run(50)
        label = Label(moving.get_potential_energy(), moving.get_forces())
        found.append((moving.copy(), label))
    return found


def summary(rows: Sequence[dict[str, Any]]) -> str:
    """Force RMSE (eV/A) and energy MAE (meV/atom): mean over seeds and standard error."""
    heads = ["campaign", *(f"{t:g} K" for t in TEMPERATURES), "explored and bought"]
    lines = []
    for arm in ARMS:
        mine = [r for r in rows if r["arm"] == arm]
        cells = []
        for t in TEMPERATURES:
            at = [r["errors"][f"{t:g} K"] for r in mine]
            force = _spread([x["forces"]["rmse"] for x in at], ".3f")
            energy = _spread([x["energy"]["mae"] for x in at], ".1f")
            cells.append(f"{force}; {energy}")
        bought = _spread([r["explored_bought"] for r in mine], ".1f")
        lines.append([arm, *cells, bought])
    return table(heads, lines)


def _spread(values: Sequence[float], form: str) -> str:
    error = np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return f"{np.mean(values):{form}} +- {error:{form}}"


def _arm(config: CampaignConfig, arm: str, seed: int) -> CampaignConfig:
    explore = config.explore
    if arm == "pool":
        explore = None
    if arm == "biased" and explore is not None:
        explore = explore.model_copy(update={"bias": BIAS})
    return config.model_copy(update={"seed": seed, "explore": explore})


def _measured(
    config: CampaignConfig,
    arm: str,
    seed: int,
    tests: dict[str, list[tuple[Atoms, Label]]],
) -> dict[str, Any]:
    """One campaign, and the errors of the potential that it ends with."""
    with tempfile.TemporaryDirectory() as folder:
        results = Campaign(config, folder).run()
        model = load_potential(Path(folder) / "model")
        with CampaignStore(Path(folder) / "campaign.sqlite", read_only=True) as store:
            done = store.labels(state="done", purpose="acquired")
            bought = [x for x in done if x.structure_id >= config.pool.size]
    errors = {
        name: evaluation(model.predict([a for a, _ in found]), [x for _, x in found])
        for name, found in tests.items()
    }
    high = config.levels[-1].name
    return {
        "arm": arm,
        "seed": seed,
        "spent": results["budget"]["spent"],
        "n_high": results["n_labels"][high]["done"],
        "gathered": sum(e["gathered"] for e in results["explorations"]),
        "explored_bought": sum(x.level == high for x in bought),
        "errors": errors,
        "explorations": [e["sentence"] for e in results["explorations"]],
    }


def _smaller(config: CampaignConfig) -> CampaignConfig:
    explore, budget = config.explore, config.budget
    assert explore is not None  # the campaign of the tutorial has one
    return config.model_copy(
        update={
            "explore": explore.model_copy(update={"steps": 30, "runs": 2}),
            "budget": budget.model_copy(update={"cost": 120.0}),
        }
    )


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="tiny; nothing is kept")
    return parser.parse_args(words)


if __name__ == "__main__":
    main()
