"""The mlearn sets as both sides read them: plain extxyz, energies and forces only."""

from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.reference_data import reference_data
from mfal import LabelledDataset, read_extxyz, write_extxyz

ELEMENTS = ("Ni", "Cu", "Li", "Mo", "Si", "Ge")
EXCERPT = Path(__file__).with_name("data")
"""A few frames of Cu (data/PROVENANCE.md), for the smoke run."""
LEVEL = "pbe"
LABELS = {"energy": "energy", "forces": "forces"}
"""The keys in the source; its stresses contradict its energies and are left out."""
SHIFT = (0.31, 0.17, 0.23)
"""Translation of a copy against the copy before, A."""


@dataclass(frozen=True)
class ElementSet:
    """The files of one element: `train` and `test`, with what the training set holds."""

    train: Path
    test: Path
    n_structures: int
    n_atoms: int


def available(folder: Path) -> list[str]:
    """The elements whose two files are in the folder."""
    return [
        e for e in ELEMENTS if all(_source(folder, e, p) for p in ("train", "test"))
    ]


def mlearn(smoke: bool) -> Path:
    """The folder of the sources."""
    return EXCERPT if smoke else reference_data("mlearn")


def prepared(element: str, folder: Path, work: Path, copies: int = 1) -> ElementSet:
    """The files of an element in the form that both sides read.

    With more than one copy the training set stands there several times, every time
    shifted as a whole, which changes nothing but the positions.

    Raises:
        FileNotFoundError: the folder has no files of this element.
    """
    work.mkdir(parents=True, exist_ok=True)
    files, found = {}, {}
    for part in ("train", "test"):
        source = _source(folder, element, part)
        if source is None:
            raise FileNotFoundError(
                f"there is no {element}_{part}.extxyz (or .xz) in {folder}: leave "
                f"{element} out, it has {', '.join(available(folder))}"
            )
        found[part] = read_extxyz(source, level=LEVEL, keys=LABELS)
        files[part] = (work / f"{element}_{part}.extxyz").absolute()
    if copies > 1:
        files["train"] = files["train"].with_name(f"{element}_train_{copies}.extxyz")
        found["train"] = repeated(found["train"], copies)
    for part, file in files.items():
        write_extxyz(file, found[part])
    structures = found["train"].structures
    n_atoms = sum(len(atoms) for atoms in structures)
    return ElementSet(files["train"], files["test"], len(structures), n_atoms)


def repeated(dataset: LabelledDataset, copies: int) -> LabelledDataset:
    """The data set several times, each copy shifted as a whole by `SHIFT`."""
    n = len(dataset)
    structures = []
    for copy in range(copies):
        for atoms in dataset.structures:
            shifted = atoms.copy()
            shifted.positions += [copy * x for x in SHIFT]
            structures.append(shifted)
    labels = {
        (copy * n + i, level): label
        for copy in range(copies)
        for (i, level), label in dataset.labels.items()
    }
    return replace(dataset, structures=tuple(structures), labels=labels)


def _source(folder: Path, element: str, part: str) -> Path | None:
    names = (f"{element}_{part}.extxyz", f"{element}_{part}.extxyz.xz")
    return next((folder / n for n in names if (folder / n).exists()), None)
