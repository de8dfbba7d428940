"""Ethanol geometries of a 500 K dynamics with their GFN2-xTB forces."""

from pathlib import Path

import numpy as np
from ase.build import molecule

from mfal.data import Fidelity, Label, LabelledDataset, read_extxyz, write_extxyz
from mfal.oracles import sample_md
from mfal.oracles.presets import build_oracle

GFN2 = Fidelity("gfn2", {"code": "tblite", "method": "GFN2-xTB"})


def ethanol(size: int, folder: Path) -> LabelledDataset:
    """Geometries 10 fs apart in random order, labelled with forces; kept in `folder`."""
    file = folder / f"ethanol_gfn2_{size}.extxyz"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        pool = sample_md(
            molecule("CH3CH2OH"),
            GFN2,
            size=size,
            temperature=500,
            timestep=0.5,
            interval=20,
            equilibration=1000,
            friction=0.01,
            seed=1,
        )
        order = np.random.default_rng(1).permutation(size)
        structures = tuple(pool[i] for i in order)
        oracle = build_oracle(GFN2)
        labels: dict[tuple[int, str], Label] = {
            (i, GFN2.name): oracle(atoms).label.only(("forces",))
            for i, atoms in enumerate(structures)
        }
        write_extxyz(file, LabelledDataset(structures, (GFN2,), labels))
    return read_extxyz(file)
