"""The pool: geometries read from a file, or drawn by molecular dynamics."""

from collections.abc import Callable

from ase import Atoms

from mfal.campaign.config import CampaignConfig, ConfigError
from mfal.data import Fidelity, read_extxyz
from mfal.descriptors import InverseDistances
from mfal.oracles import sample_md


def pool_from_file(config: CampaignConfig) -> list[Atoms]:
    """The geometries of `pool.path`, of the molecule of `system`.

    Raises:
        ConfigError: too few of them, or one that is not this molecule, or whose atoms
            stand in another order than those of the first.
        DataFileError: a file that cannot be taken.
    """
    pool = config.pool
    assert pool.path is not None  # the configuration demands it
    found = read_extxyz(pool.path, labels_required=False).structures
    if len(found) < pool.size:
        raise ConfigError(
            f"pool.size: {pool.path} holds {len(found)} structures, {pool.size} are "
            "wanted: lower pool.size"
        )
    formula = config.system.atoms().get_chemical_formula()
    if found[0].get_chemical_formula() != formula:
        raise ConfigError(
            f"pool.path: {pool.path} holds {found[0].get_chemical_formula()}, the "
            f"system is {formula}: give geometries of the same molecule"
        )
    descriptor = InverseDistances(found[0].get_chemical_symbols())
    for i, atoms in enumerate(found[: pool.size]):
        try:
            descriptor(atoms)
        except ValueError as error:
            raise ConfigError(
                f"pool.path: structure {i} of {pool.path}: {error}"
            ) from None
    return list(found[: pool.size])


def pool_from_dynamics(
    config: CampaignConfig,
    level: Fidelity,
    progress: Callable[[str], None],
    drawn: Callable[[int], None],
) -> list[Atoms]:
    """Snapshots of Langevin dynamics at a level; see `mfal.oracles.sample_md`.

    `drawn` is told the number of snapshots so far and may raise to end the dynamics.
    """
    pool = config.pool
    progress(
        f"drawing {pool.size} geometries by {level.name} dynamics at "
        f"{pool.temperature:g} K"
    )
    return sample_md(
        config.system.atoms(),
        level,
        size=pool.size,
        temperature=pool.temperature,
        timestep=pool.timestep,
        interval=pool.interval,
        equilibration=pool.equilibration,
        friction=pool.friction,
        seed=config.seed,
        progress=drawn,
    )
