"""The systems of this benchmark, from the reference data or from the repository."""

import io
import lzma
from collections.abc import Callable
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms

from benchmarks.reference_data import reference_data
from benchmarks.strategies.labels import without_forces
from benchmarks.strategies.systems import Sizes, System
from benchmarks.strategies_small import systems as small
from mfal.data import Fidelity, Label, LabelledDataset, read_extxyz

METHYL = ((0, 1, 4, 3, 5, 2), (0, 1, 4, 3, 2, 5))
"""Permutations of methanol's like atoms: rotation and reflection of the methyl group."""
DIMER = ((0, 2, 1, 3, 4, 5), (3, 4, 5, 0, 1, 2))
"""Of two water molecules: hydrogens of one, and the molecules."""
WATER_RATIO = 10.0
"""CCSD(T) over MP2 of a water dimer: an assumption."""
MESH_RATIO = 32.0
"""The mesh named K4 over the one named K1: an assumption (half the points of 4 x 4 x 4
over one)."""


def methanol(smoke: bool) -> System:
    """GFN2-xTB below MP2/def2-SVP, both with forces."""
    if smoke:
        data = read_extxyz(small.METHANOL_EXCERPT)
        costs, sizes = {"gfn2": 0.001, "mp2": 0.72}, Sizes(12, 4, 8, 3, 6)
    else:
        (data, costs), sizes = _ladder("gfn2", "mp2"), Sizes(120, 20, 40)
    return System(
        "methanol",
        "methanol, GFN2-xTB to MP2",
        data,
        costs,
        "CPU s",
        sizes,
        permutations=METHYL,
    )


def methanol_three(smoke: bool) -> System:
    """GFN2-xTB, HF, MP2; the smoke run has a mixture of two levels as the middle one."""
    if smoke:
        data, costs = _with_middle(read_extxyz(small.METHANOL_EXCERPT))
        sizes = Sizes(12, 4, 8, 3, 6)
    else:
        (data, costs), sizes = _ladder("gfn2", "hf", "mp2"), Sizes(120, 20, 40)
    return System(
        "methanol_three",
        "methanol, GFN2-xTB, HF and MP2",
        data,
        costs,
        "CPU s",
        sizes,
        permutations=METHYL,
    )


def methanol_cc(smoke: bool) -> System:
    """MP2 with forces below CCSD(T) energies; in the smoke run GFN2 below MP2 ones."""
    if smoke:
        data = without_forces(read_extxyz(small.METHANOL_EXCERPT))
        costs, sizes = {"gfn2": 0.72, "mp2": 1.62}, Sizes(12, 4, 8, 3, 6)
    else:
        (data, costs), sizes = _ladder("mp2", "ccsdt"), Sizes(135, 20, 25)
    return System(
        "methanol_cc",
        "methanol, MP2 with forces to CCSD(T) energies",
        data,
        costs,
        "CPU s",
        sizes,
        permutations=METHYL,
        tolerated=(0.002, 0.1),
    )


def water(smoke: bool) -> System:
    """MP2 below CCSD(T), interaction energies of dimers."""
    _not_in_smoke("water", smoke)
    frames = list(
        ase.io.iread(
            reference_data("water_dimer_mp2_ccsdt", "dimers_300K_avdz.extxyz"), ":"
        )
    )
    names = ("mp2", "ccsdt")
    labels = {
        (i, name): Label(float(atoms.info[f"{name}_energy"]))
        for i, atoms in enumerate(frames)
        for name in names
    }
    data = LabelledDataset(_bare(frames), _levels(names), labels)
    return System(
        "water",
        "water dimers, MP2 to CCSD(T) energies",
        data,
        {"mp2": 1 / WATER_RATIO, "ccsdt": 1.0},
        "CCSD(T) labels",
        Sizes(160, 30, 200),
        permutations=DIMER,
        tolerated=(0.002, 0.1),
    )


def silicon(smoke: bool) -> System:
    """Forces of cells with a defect at the k-meshes that the source names K1 and K4."""
    _not_in_smoke("silicon", smoke)
    folder = reference_data("si_kmesh_defects")
    frames = [
        atoms
        for kind in ("Vacancy", "Interstitial")
        for atoms in _read_xz(folder / f"{kind}-RE_Testing_Set.extxyz.xz")
    ]
    labels = {
        (i, "k1"): Label(None, a.arrays["k1_forces"]) for i, a in enumerate(frames)
    }
    labels |= {(i, "k4"): Label(None, a.get_forces()) for i, a in enumerate(frames)}
    data = LabelledDataset(_bare(frames), _levels(("k1", "k4")), labels)
    return System(
        "silicon",
        "silicon defects, coarse to fine k-mesh",
        data,
        {"k1": 1 / MESH_RATIO, "k4": 1.0},
        "fine labels",
        Sizes(100, 8, 30),
    )


def copper(smoke: bool) -> System:
    """EMT below PBE (mlearn); the published test set is held out."""
    found = small.copper(smoke)
    n_test = found.published
    sizes = Sizes(4, 1, n_test, 2, 4) if smoke else Sizes(100, 8, n_test)
    return System(
        "copper",
        "copper, EMT to PBE",
        found.data,
        found.costs,
        "PBE labels",
        sizes,
        published=n_test,
    )


SYSTEMS: dict[str, Callable[[bool], System]] = {
    s.__name__: s
    for s in (methanol, methanol_three, methanol_cc, water, silicon, copper)
}

SMOKE = ("methanol", "methanol_three", "methanol_cc", "copper")
"""Of which the repository holds a part, or something that can stand for them."""


def _not_in_smoke(name: str, smoke: bool) -> None:
    if smoke:
        raise ValueError(
            f"the repository holds no part of {name}: run it whole, or take one of "
            f"{', '.join(SMOKE)} for the smoke run"
        )


def _ladder(*names: str) -> tuple[LabelledDataset, dict[str, float]]:
    """Levels of the methanol set, and the mean CPU seconds of their labels."""
    folder = reference_data("generated", "methanol_gfn2_hf_mp2_ccsdt")
    frames = list(ase.io.iread(folder / "frames.extxyz", ":"))
    labels = {
        (i, name): Label(
            float(atoms.info[f"{name}_energy"]), atoms.arrays.get(f"{name}_forces")
        )
        for i, atoms in enumerate(frames)
        for name in names
        if f"{name}_energy" in atoms.info
    }
    seconds = {
        name: [a.info[f"{name}_cpu_s"] for a in frames if f"{name}_cpu_s" in a.info]
        for name in names
    }
    costs = {name: float(np.mean(s)) for name, s in seconds.items()}
    return LabelledDataset(_bare(frames), _levels(names), labels), costs


def _with_middle(data: LabelledDataset) -> tuple[LabelledDataset, dict[str, float]]:
    """A level between the two: the mean of their labels."""
    low, high = data.levels
    labels = dict(data.labels)
    for i in data.paired(low, high):
        a, b = labels[i, low], labels[i, high]
        labels[i, "middle"] = Label(
            0.5 * (a.energy + b.energy), 0.5 * (a.forces + b.forces)
        )
    names = (low, "middle", high)
    whole = LabelledDataset(data.structures, _levels(names), labels)
    return whole, {low: 0.001, "middle": 0.17, high: 0.72}


def _levels(names: tuple[str, ...]) -> tuple[Fidelity, ...]:
    return tuple(Fidelity(name, {}) for name in names)


def _bare(frames: list[Atoms]) -> tuple[Atoms, ...]:
    return tuple(Atoms(a.numbers, a.positions, cell=a.cell, pbc=a.pbc) for a in frames)


def _read_xz(path: Path) -> list[Atoms]:
    """All frames (ASE would seek backwards in the compressed stream)."""
    with lzma.open(path, "rt") as file:
        text = io.StringIO(file.read())
    return ase.io.read(text, index=":", format="extxyz")
