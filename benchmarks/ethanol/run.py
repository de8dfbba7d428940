"""What the second level and the choice of labels are worth: ethanol, GFN2-xTB and PBE.

    python -m benchmarks.ethanol.run [--seeds 3] [--smoke]

Whole campaigns on replayed labels (made by `benchmarks.ethanol.generate`), all with
the budget of 40 PBE labels and the same split for a seed: 40 geometries held out, 40
targets, 320 candidates. Finished campaigns are not run again.
"""

import argparse
import json
import platform
import statistics
from pathlib import Path
from typing import Any

import ase.io
import torch
import yaml
from matplotlib.figure import Figure

import mfal
from benchmarks.in_process import InProcess
from benchmarks.markdown import write_sections
from mfal.campaign import Campaign, load_campaign

HERE = Path(__file__).parent
LEVELS = ("gfn2", "pbe")
STRATEGIES: dict[str, tuple[tuple[str, ...], str]] = {
    "pbe alone, random": (("pbe",), "random"),
    "pbe alone, information": (("pbe",), "target_information"),
    "joint, random": (LEVELS, "random"),
    "joint, information": (LEVELS, "target_information"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--work", type=Path, default=Path("campaigns/ethanol-benchmark")
    )
    parser.add_argument("--smoke", action="store_true", help="small, for the tests")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    size = 60 if options.smoke else 400
    pool = write_pool(options.work / f"pool_{size}.extxyz", size)
    runs = []
    for seed in range(1 if options.smoke else options.seeds):
        for name, (levels, acquisition) in STRATEGIES.items():
            config = campaign(pool, levels, acquisition, seed, options.smoke)
            slug = f"{name.replace(', ', '_').replace(' ', '_')}_{size}_{seed}"
            file = options.work / f"{slug}.yaml"
            file.write_text(yaml.safe_dump(config))
            done = options.work / slug / "results.json"
            results = json.loads(done.read_text()) if done.exists() else {}
            if not results.get("finished"):
                results = Campaign(
                    load_campaign(file), options.work / slug, executor=InProcess()
                ).run()
            for mode in ("standalone", "at_hand"):
                if mode in results["evaluation"]:
                    runs.append(summary(name, seed, mode, results))
                    print(json.dumps(runs[-1]), flush=True)
    if options.smoke:
        return
    document = {
        "question": __doc__,
        "versions": {
            "mfal": mfal.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "runs": runs,
        "table": table(runs),
    }
    (HERE / "results.json").write_text(json.dumps(document, indent=1))
    figure(runs).savefig(HERE / "learning.png", dpi=200)
    write_readme(document["table"])


def write_pool(path: Path, size: int) -> Path:
    """The labelled pool with the measured cost of each label."""
    seconds = json.loads((HERE / "ethanol_cpu_seconds.json").read_text())
    frames = ase.io.read(HERE / "ethanol_gfn2_pbe.extxyz", index=":")
    counted = dict.fromkeys(LEVELS, 0)
    kept = []
    for atoms in frames:
        level = atoms.info["mfal_fidelity"]
        if counted[level] < size:
            atoms.info["mfal_cpu_seconds"] = seconds[level][counted[level]]
            counted[level] += 1
            atoms.calc = None
            kept.append(atoms)
    ase.io.write(path, kept, format="extxyz")
    ase.io.write(path.with_name("start.xyz"), kept[0].copy()[range(9)], format="xyz")
    return path


def campaign(
    pool: Path, levels: tuple[str, ...], acquisition: str, seed: int, smoke: bool
) -> dict[str, Any]:
    """The configuration of one campaign."""
    replay = {"code": "replay", "path": pool.name}
    return {
        "name": "ethanol",
        "seed": seed,
        "system": {"file": "start.xyz"},
        "levels": [
            {"name": name, "oracle": {**replay, "level": name}} for name in levels
        ],
        "pool": {
            "sampler": "file",
            "path": pool.name,
            "size": 60 if smoke else 400,
        },
        "targets": 6 if smoke else 40,
        "validation": 6 if smoke else 40,
        "pilot": 4 if smoke else 8,
        "budget": {"highest_labels": 8 if smoke else 40},
        "acquisition": {"name": acquisition, "batch": 8},
        "comparison": False,
    }


def summary(name: str, seed: int, mode: str, results: dict) -> dict[str, Any]:
    """The figures of one campaign in one way of deployment."""
    errors = results["evaluation"][mode]
    return {
        "strategy": name,
        "seed": seed,
        "deployment": mode,
        "cost": results["budget"]["spent"],
        "n_pbe": results["learning_curve"][-1]["n_labels"]["pbe"],
        "forces_mae": errors["forces"]["mae"],
        "forces_coverage_68": errors["forces"]["coverage_68"],
        "forces_coverage_95": errors["forces"]["coverage_95"],
        "energy_mae": errors["energy"]["mae"],
        "energy_coverage_68": errors["energy"]["coverage_68"],
        "energy_coverage_95": errors["energy"]["coverage_95"],
        "curve": [
            [point["cost"], point["heldout"][mode]["forces"]["mae"]]
            for point in results["learning_curve"]
            if (point["heldout"] or {}).get(mode)
        ],
    }


def table(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and spread over the seeds of each strategy and way of deployment."""
    rows = []
    for key in dict.fromkeys((r["strategy"], r["deployment"]) for r in runs):
        mine = [r for r in runs if (r["strategy"], r["deployment"]) == key]
        row: dict[str, Any] = {
            "strategy": key[0],
            "deployment": key[1],
            "seeds": len(mine),
        }
        for name in mine[0]:
            if isinstance(mine[0][name], float):
                values = [r[name] for r in mine]
                row[name] = statistics.mean(values)
                row[f"{name}_spread"] = (
                    statistics.stdev(values) if len(values) > 1 else 0.0
                )
        row["n_pbe"] = statistics.mean(r["n_pbe"] for r in mine)
        rows.append(row)
    return rows


def figure(runs: list[dict[str, Any]]) -> Figure:
    """Held-out force error against cost: a line per seed, a colour per strategy."""
    drawing = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = drawing.add_subplot()
    dashes = {"standalone": "--", "at_hand": "-"}
    strategies = list(STRATEGIES)
    for run in runs:
        cost, error = zip(*run["curve"], strict=True)
        number = strategies.index(run["strategy"])
        label = f"{run['strategy']}, {run['deployment'].replace('_', ' ')}"
        axes.plot(
            cost,
            error,
            dashes[run["deployment"]],
            color=f"C{number}",
            marker=".",
            linewidth=1,
            label=label if run["seed"] == 0 else None,
        )
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="cost of the training labels (CPU s)",
        ylabel="held-out force MAE (eV/A)",
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("{x:.2g}")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=7, frameon=False)
    return drawing


def write_readme(rows: list[dict[str, Any]]) -> None:
    """Puts the table into the README, between its marks."""
    lines = [
        "| strategy | deployment | PBE labels | forces, eV/A | 68 / 95 % coverage | "
        "energy, meV/atom |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['strategy']} | {row['deployment'].replace('_', ' ')} | "
            f"{row['n_pbe']:.1f} | {row['forces_mae']:.4f} ± "
            f"{row['forces_mae_spread']:.4f} | {100 * row['forces_coverage_68']:.0f} / "
            f"{100 * row['forces_coverage_95']:.0f} | {row['energy_mae']:.2f} ± "
            f"{row['energy_mae_spread']:.2f} |"
        )
    write_sections(HERE / "README.md", {"table": "\n".join(lines)})


if __name__ == "__main__":
    main()
