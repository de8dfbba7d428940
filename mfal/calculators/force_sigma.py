r"""The standard deviation of the force on an atom, as a measure of extrapolation.

s_i = (sum_c s_ic^2)^1/2 over the components of the force: the root mean square of |F_i -
F_i,true| as the model sees it, in eV/A. It does not change as the structure turns.
"""

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from jaxtyping import Float

from mfal.calculators.potential import MfalCalculator
from mfal.calculators.verdict import Verdict, found
from mfal.models.calibration import Recalibration
from mfal.models.exact import ExactPotential
from mfal.models.leave_out import leave_one_out
from mfal.models.left_out_weights import leave_out
from mfal.models.observations import FORCES
from mfal.models.residuals import left_out_structures

NAME, UNIT = "force sigma", "eV/A"


def force_sigma(atoms: Atoms, calculator: BaseCalculator) -> Float[np.ndarray, " n"]:
    """The standard deviation of the force on each atom (eV/A).

    What the calculator knows of this structure already is not computed again.

    Raises:
        ValueError: a calculator without `forces_uncertainty`.
    """
    check_uncertainty(calculator)
    sigma = np.asarray(calculator.get_property("forces_uncertainty", atoms))
    return np.sqrt(np.square(sigma).sum(axis=1))


def check_uncertainty(calculator: BaseCalculator | None) -> None:
    """Refuse a calculator that does not know how uncertain its forces are.

    Raises:
        ValueError: says which calculators do.
    """
    known = getattr(calculator, "implemented_properties", [])
    if "forces_uncertainty" not in known:
        raise ValueError(
            "what is judged by its force sigma needs a calculator with forces and "
            f"forces_uncertainty, got {type(calculator).__name__} with "
            f"{', '.join(known) or 'nothing'}: use MfalCalculator(model) with "
            "uncertainties, or CommitteeCalculator"
        )


class ForceSigmaMonitor:
    """Judges by the force sigma alone: the grade is the largest of the atoms, in eV/A.

    The sigma is that of `atoms.calc`, or of `calculator` if one is given.
    """

    def __init__(self, calculator: BaseCalculator | None = None) -> None:
        self.calculator = calculator

    def __call__(self, atoms: Atoms) -> Verdict:
        """The verdict on one structure."""
        calculator = atoms.calc if self.calculator is None else self.calculator
        check_uncertainty(calculator)
        values = force_sigma(atoms, calculator)
        return Verdict((found(NAME, values, atoms, None, UNIT),), values)


def left_out_force_sigma(calculator: MfalCalculator) -> dict[int, float]:
    """The largest force sigma in each training structure, without its own labels.

    By structure, those with forces at the level of the calculator, in its way of
    deployment and with its recalibration. Closed form, see `mfal.models.leave_out`.

    Raises:
        ValueError: no left-out forces: none among the labels, or a loaded potential.
    """
    model = calculator.model
    mode = "standalone" if calculator.low_level is None else "at_hand"
    factor = Recalibration()
    if calculator.level == model.levels[-1]:
        factor = model.recalibrations.get(mode, factor)
    values: dict[int, float] = {}
    if isinstance(model, ExactPotential):
        values = _of_exact(calculator, model, mode, factor)
    elif calculator.level == model.levels[-1]:
        left = leave_out(
            model.kept, model.weights, model.hyperparameters, mode=mode, bars=model.bars
        )
        a, b = factor.on_sigma("forces"), factor.on_noise("forces")
        numbers = {c.structure: c.species for c in model.kept}
        for k, structure in enumerate(left.structure.get("forces", [])):
            sigma = a * left.epistemic["forces"][k]
            if calculator.noise:
                sigma = np.hypot(sigma, b * left.noise["forces"][k])
            values[structure] = _largest(sigma, numbers[structure], calculator)
    if not values:
        raise ValueError(
            f"there are no left-out forces at level {calculator.level!r} to set a "
            "threshold from: fit the potential here (what is kept for leave-one-out is "
            "not saved with it) to labels with forces at its highest level, or give the "
            "threshold"
        )
    return values


def _of_exact(
    calculator: MfalCalculator, model: ExactPotential, mode: str, factor: Recalibration
) -> dict[int, float]:
    """Of an exact potential, whose left-out sigmas hold the noise of the label."""
    left = leave_one_out(model, calculator.level, mode=mode)
    whose = left_out_structures(model, calculator.level, FORCES, mode=mode)
    values = {}
    for structure, total in zip(whose, left.forces_sigma, strict=True):
        sigma = total
        if not calculator.noise:
            noise = _noise(calculator, model, mode, structure)
            sigma = np.sqrt(np.clip(np.square(total) - np.square(noise), 0.0, None))
        numbers = model.structures[structure].numbers
        sigma = factor.on_sigma("forces") * sigma
        values[structure] = _largest(sigma, numbers, calculator)
    return values


def _noise(
    calculator: MfalCalculator, model: ExactPotential, mode: str, structure: int
) -> Float[np.ndarray, "n 3"]:
    """The noise of the forces of a label, without recalibration."""
    label = model.dataset.label(structure, calculator.at_hand_level)
    at_hand = mode == "at_hand" and label is not None
    found = model.predict(
        [model.structures[structure]],
        calculator.level,
        at_hand=[label] if at_hand and label is not None else None,
        at_hand_level=calculator.at_hand_level if at_hand else None,
        calibrated=False,
    )
    return found.forces_noise[0]


def _largest(
    sigma: np.ndarray, numbers: Sequence[int] | np.ndarray, calculator: MfalCalculator
) -> float:
    """The largest of the atoms, as the calculator would give it."""
    each = sigma.reshape(-1, 3)
    if calculator.species_factors is not None:
        each = calculator.species_factors.per_atom(numbers) * each
    return float(np.sqrt(np.square(each).sum(axis=1)).max())
