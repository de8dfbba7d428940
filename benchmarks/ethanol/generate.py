"""Labels the ethanol pool of the demo at both levels, with the time each label took.

    python -m benchmarks.ethanol.generate [--size 400] [--workers 2]

GFN2-xTB molecular dynamics at 500 K as in `tutorials/campaigns/ethanol.yaml`, then
GFN2-xTB and PBE/def2-SVP (density fitting) energies and forces of every geometry.
A run that was stopped goes on where it was (results are spooled).
"""

import argparse
import json
from pathlib import Path

from ase.build import molecule

from mfal.data import Fidelity, LabelledDataset, canonical, write_extxyz
from mfal.oracles import LabelPool, LabelRequest, LabelResult, label_all, sample_md

HERE = Path(__file__).parent
LEVELS = (
    Fidelity("gfn2", {"code": "tblite", "method": "GFN2-xTB"}),
    Fidelity(
        "pbe",
        {"code": "pyscf", "method": "PBE", "basis": "def2-SVP", "density_fit": True},
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=400)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("campaigns/ethanol-data"))
    options = parser.parse_args()
    pool = sample_md(
        molecule("CH3CH2OH"),
        LEVELS[0],
        size=options.size,
        temperature=500,
        timestep=0.5,
        interval=20,
        equilibration=1000,
        friction=0.01,
        seed=0,
    )
    results: dict[tuple[int, str], LabelResult] = {}

    def take(result: LabelResult) -> None:
        level, index = result.label_id.split("_")
        results[int(index), level] = result
        print(f"{len(results)} of {2 * len(pool)}: {result.label_id} {result.error}")

    requests = [
        LabelRequest.of(
            f"{level.name}_{i}", atoms, level, spool=str(options.work / "spool")
        )
        for level in LEVELS
        for i, atoms in enumerate(pool)
    ]
    with LabelPool(options.workers, timeout=600) as workers:
        label_all(workers, requests, take)
    failed = [key for key, result in results.items() if result.label is None]
    if failed:
        raise SystemExit(f"labels failed: {failed}")
    labels = {key: result.label for key, result in results.items() if result.label}
    structures = tuple(canonical(atoms) for atoms in pool)
    write_extxyz(
        HERE / "ethanol_gfn2_pbe.extxyz", LabelledDataset(structures, LEVELS, labels)
    )
    seconds = {
        level.name: [results[i, level.name].cpu_seconds for i in range(len(pool))]
        for level in LEVELS
    }
    (HERE / "ethanol_cpu_seconds.json").write_text(json.dumps(seconds))


if __name__ == "__main__":
    main()
