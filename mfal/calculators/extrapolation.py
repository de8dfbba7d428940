"""Where a potential may be used: a monitor that says which atom is beyond, and why."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from ase import Atoms

from mfal.calculators.force_sigma import (
    NAME,
    UNIT,
    force_sigma,
    left_out_force_sigma,
)
from mfal.calculators.potential import MfalCalculator, check_positions
from mfal.calculators.thresholds import Threshold, threshold
from mfal.calculators.verdict import Verdict, found
from mfal.models.training_environments import MEASURES, TrainingEnvironments

QUANTILE = 0.95
"""Share of structures like the training ones that no measure flags."""

ORDER = {"leverage": 2}
"""Measures that grow as a square: their grade is a root, as large as that of others."""

LEFT_OUT = 128
"""Training structures, drawn at random, that thresholds are taken from at the most."""


class ExtrapolationMonitor:
    r"""Judges structures by how far each measure lies beyond its threshold.

    "force sigma" (eV/A): the epistemic standard deviation of the force on an atom, as
    the calculator gives it. The others tell how far the atom's environment x (of a whole
    molecule, for an exact potential) is from those of the training set, X:
    "mahalanobis", :math:`\sqrt{(x - m)^T C^{-1} (x - m)}` with their mean and covariance;
    "leverage", :math:`x^T (X^T X + λ)^{-1} x`; "grade", :math:`\max |x A^{-1}|` with the
    rows A of X of largest volume. The grade of a finding is the measure over its
    threshold (of leverage, a square, the root of that).
    Make one with `ExtrapolationMonitor.of`.

    Source: Podryabinkin & Shapeev (2017), Comput. Mater. Sci. 140, 171, for the grade.

    Raises:
        ValueError: no threshold, or one of an unknown measure.
    """

    def __init__(
        self,
        calculator: MfalCalculator,
        thresholds: Mapping[str, Threshold],
        environments: TrainingEnvironments | None = None,
    ) -> None:
        known = (NAME, *(MEASURES if environments is not None else ()))
        unknown = [name for name in thresholds if name not in known]
        if unknown or not thresholds:
            raise ValueError(
                f"thresholds are of one or more of {', '.join(known)}, got "
                f"{', '.join(thresholds) or 'none'}"
            )
        self.calculator = calculator
        self.thresholds = dict(thresholds)
        self.environments = environments

    @classmethod
    def of(
        cls,
        calculator: MfalCalculator,
        *,
        measures: Sequence[str] = (NAME, *MEASURES),
        quantile: float = QUANTILE,
        structures: Sequence[Atoms] | None = None,
        seed: int = 0,
    ) -> "ExtrapolationMonitor":
        """With thresholds from the left-out values of the training set itself.

        Every measure gets the quantile 1 - (1 - `quantile`) / (number of measures), so
        that together they flag at most a share 1 - `quantile` of structures like those
        of the training set. `structures` are those of the fit, for a potential that was
        loaded without its data.

        Raises:
            ValueError: an unknown measure, a calculator without uncertainties, or a
                potential that nothing can be left out of.
        """
        known = (NAME, *MEASURES)
        if not measures or any(m not in known for m in measures):
            raise ValueError(
                f"the measures are some of {', '.join(known)}, got "
                f"{', '.join(measures) or 'none'}"
            )
        each = 1.0 - (1.0 - quantile) / len(measures)
        values: dict[str, list[float]] = {}
        environments = None
        if NAME in measures:
            if not calculator.uncertainties:
                raise ValueError(
                    "the force sigma needs the uncertainties of the calculator: make "
                    "it with uncertainties=True, or leave this measure out"
                )
            values[NAME] = list(left_out_force_sigma(calculator).values())
        if any(m in MEASURES for m in measures):
            model = calculator.model
            chosen = _of_level(calculator) if structures is None else structures
            environments = TrainingEnvironments(model, chosen)
            order = np.random.default_rng(seed).permutation(environments.n_structures)
            left = [environments.left_out(int(i)) for i in order[:LEFT_OUT]]
            for name in measures:
                if name in MEASURES:
                    values[name] = [x[name] for x in left]
        thresholds = {
            name: threshold(values[name], each, name=name) for name in measures
        }
        return cls(calculator, thresholds, environments)

    def __call__(self, atoms: Atoms) -> Verdict:
        """The verdict on one structure: grade 1 is the threshold.

        Raises:
            ValueError: a position that is not finite, or a species that the potential
                does not know.
        """
        check_positions(atoms)
        values = {}
        if any(name != NAME for name in self.thresholds):
            assert self.environments is not None  # no such threshold without
            values = self.environments.measures(atoms)
        if NAME in self.thresholds:
            values[NAME] = force_sigma(atoms, self.calculator)
        findings = [
            found(
                name,
                values[name],
                atoms,
                limit.value,
                UNIT if name == NAME else "",
                ORDER.get(name, 1),
            )
            for name, limit in self.thresholds.items()
        ]
        shares = [
            (values[name] / limit.value) ** (1 / ORDER.get(name, 1))
            for name, limit in self.thresholds.items()
            if len(values[name]) == len(atoms)
        ]
        return Verdict(
            tuple(sorted(findings, key=lambda f: -f.grade)),
            np.max(shares, axis=0) if shares else None,
        )

    def of_trajectory(self, frames: Iterable[Atoms]) -> list[Verdict]:
        """The verdicts on the frames of a trajectory.

        Raises:
            ValueError: names the frame that cannot be judged.
        """
        verdicts = []
        for number, atoms in enumerate(frames):
            try:
                verdicts.append(self(atoms))
            except ValueError as error:
                raise ValueError(
                    f"frame {number} of the trajectory: {error}"
                ) from error
        return verdicts


def _of_level(calculator: MfalCalculator) -> list[Atoms]:
    """The training structures with a label at the level of the calculator."""
    dataset = calculator.model.dataset
    if dataset is None:
        return []
    return [dataset.structures[i] for i in dataset.labelled(calculator.level)]
