"""Predictions of energies and forces with their standard deviations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, overload, runtime_checkable

import numpy as np
from ase import Atoms
from jaxtyping import Float
from torch import Tensor

from mfal.data import Label
from mfal.models.calibration import Recalibration
from mfal.models.observations import ENERGY, FORCES, StructureRows


@dataclass(frozen=True)
class Prediction:
    """Energies (eV, total) and forces (eV/A) of structures with standard deviations.

    `*_sigma` is epistemic (the latent function), `*_noise` aleatoric (what the model
    cannot represent of a label at that level); both are multiplied by the recalibration.
    """

    energy: Float[np.ndarray, " b"]
    energy_sigma: Float[np.ndarray, " b"]
    energy_noise: Float[np.ndarray, " b"]
    forces: Float[np.ndarray, "b n 3"]
    forces_sigma: Float[np.ndarray, "b n 3"]
    forces_noise: Float[np.ndarray, "b n 3"]

    def total_sigma(self, quantity: str) -> np.ndarray:
        """Standard deviation of a label: epistemic and noise together."""
        return np.hypot(
            getattr(self, f"{quantity}_sigma"), getattr(self, f"{quantity}_noise")
        )


@dataclass(frozen=True)
class StructurePrediction:
    """Energy (eV), forces (eV/A) and stress (eV/A^3) of one structure of any size.

    `*_sigma` is epistemic, `*_noise` aleatoric, as in `Prediction`; `None` where no
    uncertainty was asked for, and for the stress of what is not periodic.
    """

    energy: float
    forces: Float[np.ndarray, "n 3"]
    stress: Float[np.ndarray, " 6"] | None = None
    energy_sigma: float | None = None
    energy_noise: float | None = None
    forces_sigma: Float[np.ndarray, "n 3"] | None = None
    forces_noise: Float[np.ndarray, "n 3"] | None = None
    stress_sigma: Float[np.ndarray, " 6"] | None = None
    stress_noise: Float[np.ndarray, " 6"] | None = None

    @staticmethod
    def from_rows(
        found: Mapping[str, Float[np.ndarray, " r"]], n_atoms: int
    ) -> "StructurePrediction":
        """From the rows of each quantity: one, 3 n_atoms, six."""
        shaped: dict[str, Any] = {}
        for name, rows in found.items():
            if name.startswith("energy"):
                shaped[name] = float(rows[0])
            else:
                shape = (n_atoms, 3) if name.startswith("forces") else (6,)
                shaped[name] = np.array(rows).reshape(shape)
        return StructurePrediction(**shaped)

    def scaled(self, factor: Recalibration) -> "StructurePrediction":
        """With the sigmas and the noise of each quantity times their factors."""
        changes = {}
        for quantity in ("energy", "forces", "stress"):
            factors = (factor.on_sigma(quantity), factor.on_noise(quantity))
            for kind, times in zip(("sigma", "noise"), factors, strict=True):
                value = getattr(self, f"{quantity}_{kind}")
                if value is not None:
                    changes[f"{quantity}_{kind}"] = value * times
        return replace(self, **changes)

    def total_sigma(self, quantity: str) -> Any:
        """Standard deviation of a label: epistemic and noise together."""
        total = np.hypot(
            getattr(self, f"{quantity}_sigma"), getattr(self, f"{quantity}_noise")
        )
        return float(total) if quantity == "energy" else total


class StructurePredictions(Sequence[StructurePrediction]):
    """Predictions of structures of any size: a sequence of `StructurePrediction`.

    `energy` (eV), `forces` (eV/A), `stress` (eV/A^3), their `*_sigma` (epistemic) and
    `*_noise` are lists, one entry per structure.
    """

    def __init__(self, parts: Sequence[StructurePrediction]) -> None:
        self._parts = tuple(parts)

    @overload
    def __getitem__(self, index: int) -> StructurePrediction: ...
    @overload
    def __getitem__(self, index: slice) -> "StructurePredictions": ...
    def __getitem__(
        self, index: int | slice
    ) -> "StructurePrediction | StructurePredictions":
        if isinstance(index, slice):
            return StructurePredictions(self._parts[index])
        return self._parts[index]

    def __len__(self) -> int:
        return len(self._parts)

    def __getattr__(self, name: str) -> list[Any]:
        if name not in StructurePrediction.__dataclass_fields__:
            raise AttributeError(name)
        return [getattr(part, name) for part in self._parts]

    def total_sigma(self, quantity: str) -> list[Any]:
        """Standard deviations of labels: epistemic and noise together."""
        return [part.total_sigma(quantity) for part in self._parts]


class RowPrediction(NamedTuple):
    """Mean and covariance of the rows of one structure, and the noise of its label."""

    block: StructureRows
    mean: Tensor
    covariance: Tensor
    noise: Tensor
    zero: float
    """Energy of reference of the structure (eV)."""


def cartesian(
    predictions: Sequence[RowPrediction], factor: Recalibration
) -> Prediction:
    """Energies and Cartesian forces: F = U F_int, with variances of U Σ U^T."""
    columns: dict[str, list] = {
        f"{q}{k}": [] for q in ("energy", "forces") for k in ("", "_sigma", "_noise")
    }
    for block, mean, covariance, noise, zero in predictions:
        energy, forces = block.quantity == ENERGY, block.quantity == FORCES
        columns["energy"].append(zero + float(mean[energy][0]))
        columns["energy_sigma"].append(
            float(sigmas(covariance[energy][:, energy].diagonal())[0])
        )
        columns["energy_noise"].append(float(noise[energy].sqrt()[0]))
        u = block.basis
        columns["forces"].append((u @ mean[forces]).reshape(-1, 3).numpy())
        inner = covariance[forces][:, forces]
        columns["forces_sigma"].append(sigmas(((u @ inner) * u).sum(1)).reshape(-1, 3))
        spread = (u.square() @ noise[forces]).sqrt()
        columns["forces_noise"].append(spread.reshape(-1, 3).numpy())
    times = {
        f"{quantity}_{kind}": of(quantity)
        for quantity in ("energy", "forces")
        for kind, of in (("sigma", factor.on_sigma), ("noise", factor.on_noise))
    }
    return Prediction(
        **{
            name: np.array(values) * times.get(name, 1.0)
            for name, values in columns.items()
        }
    )


def sigmas(variance: Float[Tensor, " n"]) -> np.ndarray:
    """Square roots of variances; rounding below zero is cut.

    Raises:
        ArithmeticError: one is negative by more than that.
    """
    if (variance < -1e-6 * variance.abs().max() - 1e-10).any():
        raise ArithmeticError(
            f"a posterior variance came out negative ({float(variance.min()):.2e}): "
            "the covariance matrix is too ill-conditioned"
        )
    return variance.clamp_min(0.0).sqrt().numpy()


@runtime_checkable
class Levelled(Protocol):
    """A model of several levels."""

    @property
    def levels(self) -> tuple[str, ...]: ...

    def level_index(self, level: str | None) -> int: ...


def level_position(levels: tuple[str, ...], level: str | None) -> int:
    """Position of a level by name; the highest for `None`.

    Raises:
        ValueError: a level that is not among these.
    """
    if level is None:
        return len(levels) - 1
    if level not in levels:
        raise ValueError(f"no level {level!r} here; the model has {levels}")
    return levels.index(level)


def low_index(
    model: Levelled,
    index: int,
    structures: Sequence[Atoms],
    at_hand: Sequence[Label] | None,
    at_hand_level: str | None,
) -> int:
    """Position of the level at hand, the lowest unless it is named.

    Raises:
        ValueError: not one label per structure, or a level that is not below `index`.
    """
    if at_hand is not None and len(at_hand) != len(structures):
        raise ValueError(
            f"one label at hand per structure: got {len(at_hand)} labels for "
            f"{len(structures)} structures"
        )
    low = 0 if at_hand_level is None else model.level_index(at_hand_level)
    if at_hand is not None and low >= index:
        raise ValueError(
            f"the level at hand must be below {model.levels[index]!r}, got "
            f"{model.levels[low]!r}"
        )
    return low
