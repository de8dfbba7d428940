"""ASE's dynamics seen from outside: the length of their step, and their state."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import ase.md.nose_hoover_chain as chains
import numpy as np
from ase import Atoms
from ase.md.bussi import Bussi
from ase.md.langevin import Langevin
from ase.md.md import MolecularDynamics
from ase.md.nvtberendsen import NVTBerendsen
from ase.md.verlet import VelocityVerlet
from jaxtyping import Float

_CHAINS = tuple(
    getattr(chains, name)
    for name in ("NoseHooverChainNVT", "IsotropicMTKNPT", "MTKNPT")
    if hasattr(chains, name)
)
KNOWN = (VelocityVerlet, Langevin, NVTBerendsen, *_CHAINS)
"""Dynamics (and what is derived from them, as NPTBerendsen) whose step may vary."""


def check_dynamics(dynamics: object) -> None:
    """Refuse a dynamics whose step cannot vary from move to move.

    MelchionnaNPT remembers positions one step ago, LangevinBAOAB and Bussi factors of
    the step they were made with.

    Raises:
        TypeError: names those that can.
    """
    if not isinstance(dynamics, KNOWN) or isinstance(dynamics, Bussi):
        raise TypeError(
            f"the step of {type(dynamics).__name__} cannot vary from move to move: use "
            f"{', '.join(kind.__name__ for kind in KNOWN)} or NPTBerendsen"
        )


def set_step(dynamics: MolecularDynamics, dt: float) -> None:
    """Sets the length of the step, and what the dynamics derives from it."""
    if isinstance(dynamics, Langevin | NVTBerendsen):
        dynamics.set_timestep(dt)
    else:
        dynamics.dt = dt


@dataclass(frozen=True)
class State:
    """Where a dynamics stands: atoms, and its own variables (thermostat, barostat)."""

    positions: Float[np.ndarray, "n 3"]
    momenta: Float[np.ndarray, "n 3"]
    cell: Float[np.ndarray, "3 3"]
    own: Mapping[str, Any]

    @staticmethod
    def of(atoms: Atoms, dynamics: MolecularDynamics) -> "State":
        """The state now."""
        own = {}
        if isinstance(dynamics, _CHAINS):
            own = {k: deepcopy(v) for k, v in vars(dynamics).items() if _is_own(k)}
        return State(
            atoms.get_positions(), atoms.get_momenta(), np.array(atoms.cell), own
        )

    def restore(self, atoms: Atoms, dynamics: MolecularDynamics) -> None:
        """Puts atoms and dynamics back."""
        atoms.set_cell(self.cell, scale_atoms=False)
        atoms.set_positions(self.positions, apply_constraint=False)
        atoms.set_momenta(self.momenta, apply_constraint=False)
        for name, value in self.own.items():
            setattr(dynamics, name, deepcopy(value))


def _is_own(name: str) -> bool:
    return name.startswith("_") and name not in ("_orig_trajectory", "_master")
