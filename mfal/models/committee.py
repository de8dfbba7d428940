r"""A committee: the spread of several potentials as their uncertainty.

The mean over K members and the standard deviation of a member about it,

    s^2 = 1 / (K - 1) sum_k (f_k - mean)^2,

of energies, forces and stresses. Members are ASE calculators (several MACE, EMT and other
variants) or potentials of mfal, e.g. fitted to resampled data.

Source: Seung, Opper, Sompolinsky (1992), COLT; Breiman (1996), Mach. Learn. 24, 123, for
resampled data.
"""

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator

from mfal.data import QUANTITIES, LabelledDataset
from mfal.models.calibration import Recalibration, recalibration
from mfal.models.exact import ExactPotential
from mfal.models.prediction import StructurePrediction, StructurePredictions
from mfal.models.storage import Potential
from mfal.models.weight_potential import WeightPotential

Member = BaseCalculator | ExactPotential | WeightPotential
"""An ASE calculator, or a potential, which speaks at its highest level."""


class Committee:
    r"""Several potentials that predict together.

    .. math:: \bar f = \frac1K \sum_k f_k, \qquad
        s^2 = \frac{1}{K - 1} \sum_k (f_k - \bar f)^2

    of energies (eV), forces (eV/A) and stresses (eV/A^3). Members agree on the zero of
    energy: variants with zeros of their own have to be shifted first, or the spread of
    energies means nothing (that of forces always does). `recalibration` multiplies the
    spreads, see `calibrated`.

    Source: Seung, Opper, Sompolinsky (1992), COLT.

    Raises:
        ValueError: fewer than two members, or one without forces.
        TypeError: a member that is neither a calculator nor a potential.
    """

    def __init__(
        self,
        members: Sequence[object],
        *,
        recalibration: Recalibration | None = None,
    ) -> None:
        if len(members) < 2:
            raise ValueError(
                "the uncertainty of a committee is the spread of its members, two or "
                f"more: got {len(members)}; add members, or use a potential with "
                "error bars of its own"
            )
        self.members = tuple(_checked(k, member) for k, member in enumerate(members))
        self.recalibration = recalibration or Recalibration()

    @classmethod
    def resampled(
        cls,
        dataset: LabelledDataset,
        fit: Callable[[LabelledDataset], Potential],
        *,
        n_members: int,
        seed: int = 0,
    ) -> "Committee":
        """Potentials fitted to structures drawn with replacement, each drawn one once.

        A structure that is drawn twice counts once, so that a member sees about 63 % of
        the data.

        Raises:
            ValueError: fewer than two members, or nothing to draw from.
        """
        if n_members < 2 or not len(dataset):
            raise ValueError(
                "resampling takes two or more members and some structures, got "
                f"{n_members} members of {len(dataset)} structures"
            )
        rng = np.random.default_rng(seed)
        drawn = [
            sorted({int(i) for i in rng.integers(len(dataset), size=len(dataset))})
            for _ in range(n_members)
        ]
        return cls([fit(dataset.subset(some)) for some in drawn])

    def __len__(self) -> int:
        return len(self.members)

    def predictions(self, atoms: Atoms) -> list[StructurePrediction]:
        """What each member says of a structure; a stress only if all have one."""
        found = [_predicted(member, atoms) for member in self.members]
        if any(f.stress is None for f in found):
            found = [StructurePrediction(f.energy, f.forces) for f in found]
        return found

    def predict(self, structures: Sequence[Atoms]) -> StructurePredictions:
        """Means and spreads of energies (eV), forces (eV/A) and stresses (eV/A^3).

        The noise is zero: a committee does not know what no member can represent.
        """
        return StructurePredictions(
            [
                _spread(self.predictions(atoms)).scaled(self.recalibration)
                for atoms in structures
            ]
        )

    def calibrated(
        self, dataset: LabelledDataset, level: str | None = None
    ) -> "Committee":
        """With factors on the spreads that make held-out residuals of unit mean square.

        `dataset` holds labels of a level (the highest) that no member has seen.

        Raises:
            ValueError: no label of the level.
        """
        level = dataset.highest if level is None else level
        held_out = dataset.labelled(level)
        if not held_out:
            raise ValueError(
                f"there is no label of level {level!r} to calibrate with, only of "
                f"{', '.join(dataset.levels)}"
            )
        residuals: dict[str, list[np.ndarray]] = {q: [] for q in QUANTITIES}
        sigmas: dict[str, list[np.ndarray]] = {q: [] for q in QUANTITIES}
        for i in held_out:
            found = _spread(self.predictions(dataset.structures[i]))
            label = dataset.labels[i, level]
            for q in label.quantities:
                if getattr(found, q) is not None:
                    error = np.subtract(getattr(label, q), getattr(found, q))
                    residuals[q].append(np.ravel(error))
                    sigmas[q].append(np.ravel(getattr(found, f"{q}_sigma")))
        have = [q for q in QUANTITIES if residuals[q]]
        committee = copy(self)
        committee.recalibration = recalibration(
            {q: np.concatenate(residuals[q]) for q in have},
            {q: np.maximum(np.concatenate(sigmas[q]), 1e-12) for q in have},
        )
        return committee


def _checked(number: int, member: object) -> Member:
    if isinstance(member, ExactPotential | WeightPotential):
        return member
    if not isinstance(member, BaseCalculator):
        raise TypeError(
            f"member {number} is a {type(member).__name__}: members are ASE calculators "
            "or potentials of mfal"
        )
    known = list(getattr(member, "implemented_properties", []))
    if "energy" not in known or "forces" not in known:
        raise ValueError(
            f"member {number} ({type(member).__name__}) gives {', '.join(known)}: a "
            "member gives energy and forces"
        )
    return member


def _predicted(member: Member, atoms: Atoms) -> StructurePrediction:
    if isinstance(member, ExactPotential | WeightPotential):
        return member.mean([atoms])[0]
    stress: Any = None
    if atoms.pbc.all() and "stress" in member.implemented_properties:
        stress = np.array(member.get_property("stress", atoms))
    return StructurePrediction(
        float(member.get_property("energy", atoms)),
        np.array(member.get_property("forces", atoms)),
        stress,
    )


def _spread(members: Sequence[StructurePrediction]) -> StructurePrediction:
    """Mean and standard deviation (n - 1) over the members."""
    values: dict[str, Any] = {}
    for quantity in QUANTITIES:
        if getattr(members[0], quantity) is None:
            continue
        every = np.array([getattr(m, quantity) for m in members])
        mean, sigma = every.mean(axis=0), every.std(axis=0, ddof=1)
        if quantity == "energy":
            mean, sigma = float(mean), float(sigma)
        values |= {
            quantity: mean,
            f"{quantity}_sigma": sigma,
            f"{quantity}_noise": 0.0 * sigma,
        }
    return StructurePrediction(**values)
