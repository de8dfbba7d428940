"""Makes ethanol_scans.extxyz: a minimum of ethanol and two rigid scans from it.

    python ethanol_scans.py      # some ten minutes on one core

The gauche minimum at PBE/def2-SVP (the level of ethanol_pbe.extxyz, read from there to
start with), then the torsion C-C-O-H every 10 degrees from 0 to 180 with all else
fixed, and the O-H bond from 0.75 to 1.55 A in steps of 0.05 A.
"""

from pathlib import Path

import numpy as np
from ase.optimize import BFGS

from mfal import Fidelity, LabelledDataset, read_extxyz, write_extxyz
from mfal.data import canonical
from mfal.oracles import OracleCalculator, build_oracle

HERE = Path(__file__).parent
PBE = Fidelity(
    "pbe", {"code": "pyscf", "method": "PBE", "basis": "def2-SVP", "density_fit": True}
)


def main() -> None:
    known = read_extxyz(HERE / "ethanol_pbe.extxyz")
    start = min(known, key=lambda item: item[2].energy)[0]
    minimum = known.structures[start].copy()
    minimum.calc = OracleCalculator(build_oracle(PBE))
    BFGS(minimum).run(fmax=0.005)
    minimum = canonical(minimum)
    structures = [minimum]
    side = 1 if minimum.get_dihedral(0, 1, 2, 3) < 180 else -1  # of the minimum
    for angle in np.arange(0, 181, 10):
        atoms = minimum.copy()
        atoms.set_dihedral(0, 1, 2, 3, side * angle, indices=[3])
        structures.append(canonical(atoms))
    for length in np.arange(0.75, 1.56, 0.05):
        atoms = minimum.copy()
        atoms.set_distance(2, 3, length, fix=0)
        structures.append(canonical(atoms))
    oracle = build_oracle(PBE)
    labels = {(i, "pbe"): oracle(atoms).label for i, atoms in enumerate(structures)}
    dataset = LabelledDataset(tuple(structures), (PBE,), labels)
    write_extxyz(HERE / "ethanol_scans.extxyz", dataset)


if __name__ == "__main__":
    main()
