"""The pool: read from a file, drawn by molecular dynamics, or rattled."""

from collections.abc import Callable, Sequence

from ase import Atoms

from mfal.calculators.rattling import rattled
from mfal.campaign.config import CODES_WITHOUT_ELECTRONS, CampaignConfig, ConfigError
from mfal.data import Fidelity, read_extxyz
from mfal.data.checks import check_structure
from mfal.data.copies import find_copies
from mfal.descriptors import InverseDistances
from mfal.oracles import sample_md


def draw_pool(
    config: CampaignConfig,
    progress: Callable[[str], None],
    drawn: Callable[[int], None],
) -> list[Atoms]:
    """The geometries that the sampler of the configuration gives.

    Raises:
        ConfigError: a file of other structures, or rattling that gives no physical ones.
    """
    if config.pool.sampler == "file":
        return pool_from_file(config)
    if config.pool.sampler == "rattle":
        return pool_from_rattling(config)
    level = next(f for f in config.fidelities() if f.name == config.pool_level)
    return pool_from_dynamics(config, level, progress, drawn)


def pool_from_file(config: CampaignConfig) -> list[Atoms]:
    """The geometries of `pool.path`, of the atoms of `system`.

    A sparse model takes them in any order of atoms and in any cell.

    Raises:
        ConfigError: too few of them, or one that is not of these atoms or unphysical;
            of an exact model one whose atoms stand in another order than those of the
            first, or in a cell.
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
            f"system is {formula}: give geometries of the same atoms"
        )
    gate = _gate(config, found[0])
    for i, atoms in enumerate(found[: pool.size]):
        try:
            gate(atoms)
        except ValueError as error:
            raise ConfigError(
                f"pool.path: structure {i} of {pool.path}: {error}"
            ) from None
    if config.model.kind == "sparse" or config.model.permutations == "auto":
        _refuse_copies(config, found[: pool.size])
    return list(found[: pool.size])


def _refuse_copies(config: CampaignConfig, structures: Sequence[Atoms]) -> None:
    """Two labels of what is one structure to the model would teach the noise only."""
    for copy, first in find_copies(structures).items():
        raise ConfigError(
            f"pool.path: structure {copy} of {config.pool.path} is structure {first} "
            "over again (moved, or like atoms in another order): leave one out"
        )


def pool_from_rattling(config: CampaignConfig) -> list[Atoms]:
    """Rattled and strained copies of the system; see `mfal.calculators.rattling`.

    Raises:
        ConfigError: hardly a copy is physical.
    """
    pool, system = config.pool, config.system
    try:
        return rattled(
            system.atoms(),
            pool.size,
            rattle=pool.rattle,
            strain=pool.strain,
            supercell=pool.supercell,
            charge=system.charge,
            multiplicity=_multiplicity(config),
            seed=config.seed,
        )
    except ValueError as error:
        raise ConfigError(f"pool: {error}") from None


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
        allowed_modules=config.allowed_modules,
    )


def unphysical(config: CampaignConfig, atoms: Atoms) -> str | None:
    """Why a structure cannot be labelled in this campaign, or `None`."""
    return check_structure(
        atoms, charge=config.system.charge, multiplicity=_multiplicity(config)
    )


def _multiplicity(config: CampaignConfig) -> int | None:
    """That of the system, `None` if no level has electrons to be counted."""
    codes = {level.oracle["code"] for level in config.levels}
    electrons = not codes <= set(CODES_WITHOUT_ELECTRONS)
    return config.system.multiplicity if electrons else None


def _gate(config: CampaignConfig, first: Atoms) -> Callable[[Atoms], object]:
    """What raises `ValueError` at a structure that the model cannot take."""
    if config.model.kind == "exact":
        return InverseDistances(first.get_chemical_symbols())
    formula = first.get_chemical_formula()

    def gate(atoms: Atoms) -> None:
        if (reason := unphysical(config, atoms)) is not None:
            raise ValueError(reason)
        if atoms.get_chemical_formula() != formula:
            raise ValueError(
                f"it is {atoms.get_chemical_formula()}, the first one {formula}: all "
                "structures of a campaign have the same atoms"
            )

    return gate
