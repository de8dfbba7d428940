"""Structures for a pool, drawn by molecular dynamics at one level."""

from collections.abc import Callable, Collection

import numpy as np
from ase import Atoms, units
from ase.constraints import FixCom
from ase.md.langevin import Langevin
from threadpoolctl import threadpool_limits

from mfal.data.checks import check_structure
from mfal.data.dataset import canonical
from mfal.data.fidelity import Fidelity
from mfal.oracles.ase_calculator import ALLOWED_MODULES
from mfal.oracles.calculator import OracleCalculator
from mfal.oracles.oracle import OracleError
from mfal.oracles.presets import build_oracle

HOTTEST = 20.0
"""Kinetic over wanted temperature at which the dynamics counts as exploded."""


class SamplingError(RuntimeError):
    """A dynamics that cannot go on, with the step at which it failed."""


def sample_md(
    atoms: Atoms,
    fidelity: Fidelity,
    *,
    size: int,
    temperature: float,
    timestep: float = 0.5,
    interval: int = 20,
    equilibration: int = 500,
    friction: float = 0.01,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
    allowed_modules: Collection[str] = ALLOWED_MODULES,
) -> list[Atoms]:
    """Draw structures from the canonical ensemble by Langevin dynamics.

    The centre of mass rests. The same arguments give the same structures.

    Args:
        atoms: where the dynamics starts.
        size: number of structures.
        temperature: in kelvin.
        timestep: in femtoseconds.
        interval: steps from one structure to the next.
        equilibration: steps before the first one.
        friction: in 1/femtosecond.
        progress: called with the number of structures so far.

    Raises:
        ValueError: a level without forces, a start that cannot be labelled, or an
            argument out of range.
        SamplingError: the level failed on the way, or the dynamics exploded.
    """
    for name, value in (
        ("size", size),
        ("temperature", temperature),
        ("timestep", timestep),
        ("interval", interval),
        ("friction", friction),
    ):
        if not value > 0:
            raise ValueError(f"{name} is above 0, got {value}")
    if "forces" not in fidelity.quantities:
        raise ValueError(f"level {fidelity.name!r}: dynamics needs a level with forces")
    oracle = build_oracle(fidelity, allowed_modules)
    oracle.check(sorted(set(atoms.get_chemical_symbols())))
    multiplicity = fidelity.multiplicity if oracle.counts_electrons else None
    charge = fidelity.charge
    reason = check_structure(atoms, charge=charge, multiplicity=multiplicity)
    if reason:
        raise ValueError(f"the structure at the start cannot be labelled: {reason}")

    generator = np.random.default_rng(seed)
    moving = canonical(atoms)
    moving.calc = OracleCalculator(oracle)
    moving.set_constraint(FixCom())
    width = np.sqrt(units.kB * temperature * moving.get_masses())[:, None]
    moving.set_momenta(width * generator.standard_normal((len(moving), 3)))
    dynamics = Langevin(
        moving,
        timestep * units.fs,
        temperature_K=temperature,
        friction=friction / units.fs,
        fixcm=False,  # the constraint keeps the centre of mass at rest
        rng=generator,
    )

    def run(n_steps: int) -> None:
        try:
            moving.get_forces()
            dynamics.run(n_steps)
            reason = astray(
                moving, temperature, charge=charge, multiplicity=multiplicity
            )
        except OracleError as error:
            reason = f"{error.kind}: {error.message}"
        if reason:
            raise SamplingError(
                f"dynamics at level {fidelity.name!r}, {temperature:g} K, failed at "
                f"step {dynamics.nsteps}: {reason}; try a timestep below "
                f"{timestep:g} fs, a lower temperature or a relaxed start"
            )

    samples: list[Atoms] = []
    run(0)  # the first forces load the code, whose threads can be limited then
    with threadpool_limits(1):  # a small molecule is no work for two threads
        run(equilibration)
        while len(samples) < size:
            run(interval)
            samples.append(canonical(moving))
            if progress is not None:
                progress(len(samples))
    return samples


def astray(
    atoms: Atoms, temperature: float, *, charge: int = 0, multiplicity: int | None
) -> str | None:
    """Why dynamics at a temperature (K) cannot go on from here, if they cannot.

    Atoms too near each other, or a kinetic temperature `HOTTEST` times the wanted one.
    """
    reason = check_structure(atoms, charge=charge, multiplicity=multiplicity)
    if reason is None and atoms.get_temperature() > HOTTEST * temperature:
        reason = f"the temperature is {atoms.get_temperature():.0f} K"
    return reason
