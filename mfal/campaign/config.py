"""What a campaign is: the schema of its YAML file."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from ase import Atoms
from pydantic import (
    Field,
    NonNegativeInt,
    PrivateAttr,
    field_validator,
    model_validator,
)

from mfal.campaign.explore_config import ExploreConfig, check_explore
from mfal.campaign.sections import (
    ConfigError,
    Section,
    is_stored,
    read_section,
    suggestion,
)
from mfal.campaign.settings import (
    AcquisitionConfig,
    BudgetConfig,
    ExecutionConfig,
    LevelConfig,
    ModelConfig,
    PoolConfig,
    SystemConfig,
    ToleranceConfig,
)
from mfal.campaign.stopping_config import StoppingConfig, check_stopping
from mfal.data.fidelity import Fidelity
from mfal.oracles import ALLOWED_MODULES

__all__ = [
    "AcquisitionConfig",
    "BudgetConfig",
    "CampaignConfig",
    "ConfigError",
    "ExecutionConfig",
    "ExploreConfig",
    "LevelConfig",
    "ModelConfig",
    "PoolConfig",
    "StoppingConfig",
    "SystemConfig",
    "ToleranceConfig",
    "load_campaign",
]

PROBES = 20
"""Structures at which errors are predicted, where nothing else is said."""

CODES_WITHOUT_ELECTRONS = ("emt", "replay", "python")  # multiplicity is not theirs


class CampaignConfig(Section):
    """All of a campaign: every key of the YAML file, as `mfal init` comments them.

    Raises:
        ValidationError: (of pydantic) a key that is unknown, missing or out of range;
            `load_campaign` makes one line of it, a `ConfigError`.
    """

    name: Annotated[str, Field(min_length=1)] = "campaign"
    seed: NonNegativeInt = 0
    system: SystemConfig
    levels: Annotated[tuple[LevelConfig, ...], Field(min_length=1)]
    pool: PoolConfig = PoolConfig()
    targets: NonNegativeInt = 40
    pilot: Annotated[int, Field(ge=3)] = 8
    budget: BudgetConfig
    validation: NonNegativeInt = 40
    probes: NonNegativeInt | None = (
        None  # without labels; 20 where errors are predicted
    )
    comparison: bool = True  # with random and single-level labels, at the end
    model: ModelConfig = ModelConfig()
    acquisition: AcquisitionConfig = AcquisitionConfig()
    stopping: tuple[StoppingConfig, ...] = ()  # besides the budget; one of them holds
    explore: ExploreConfig | None = None  # none: the pool stays as it was drawn
    execution: ExecutionConfig = ExecutionConfig()
    _folder: Path = PrivateAttr(default_factory=Path.cwd)

    def model_post_init(self, context: Any) -> None:
        """Keep the folder that paths are counted from; name the pool's level."""
        self._folder = Path((context or {}).get("folder", Path.cwd()))
        pool = self.pool.model_copy(update={"level": self.pool_level})
        object.__setattr__(self, "pool", pool)  # frozen from here on

    @field_validator("stopping", mode="before")
    @classmethod
    def _one_section_is_enough(cls, value: Any) -> Any:
        return (value,) if isinstance(value, Mapping) else value

    @model_validator(mode="after")
    def _parts_fit_together(self, info: Any) -> "CampaignConfig":
        if is_stored(info):
            return self
        checks = (_check_levels, _check_sizes, _check_budget, _check_stopping)
        for check in (*checks, _check_atoms, _check_cells, _check_deployment):
            check(self)
        return self

    @property
    def folder(self) -> Path:
        """The folder of the file, from which relative paths are counted."""
        return self._folder

    @property
    def pool_level(self) -> str:
        """Name of the level that samples the pool."""
        return self.pool.level or self.levels[0].name

    @property
    def n_candidates(self) -> int:
        """Pool geometries that may be bought: not set aside for anything else."""
        return self.pool.size - self.targets - self.validation - self.n_probes

    @property
    def n_probes(self) -> int:
        """Pool geometries without labels, where errors are predicted."""
        if self.probes is not None:
            return self.probes
        asked = any(section.errors == "predicted" for section in self.stopping)
        return PROBES if asked else 0

    def start(self) -> Atoms:
        """The system as the pool holds it: repeated where the sampler says so."""
        atoms = self.system.atoms()
        return atoms * self.pool.supercell if self.pool.sampler == "rattle" else atoms

    def fidelities(self) -> tuple[Fidelity, ...]:
        """The levels, low to high, at the charge and multiplicity of the system."""
        return tuple(
            Fidelity(
                level.name,
                level.oracle,
                level.quantities,
                self.system.charge,
                self.system.multiplicity,
                level.largest_force,
                level.energy_window,
            )
            for level in self.levels
        )

    @property
    def allowed_modules(self) -> tuple[str, ...]:
        """Modules that levels of the code `python` may name a factory of."""
        return (*ALLOWED_MODULES, *self.execution.allowed_modules)

    def canonical_json(self) -> str:
        """All keys, defaults included, in one order; paths relative to the file.

        Equal for equal campaigns, wherever their folder stands.
        """
        data = self.model_dump(mode="json")
        meaningful = self.pool.meaningful()
        if self.pool.sampler == "md":
            meaningful += ("path",)  # as campaigns have always written it
        data["pool"] = {k: data["pool"][k] for k in meaningful}
        for key in ("stopping", "explore", "probes"):
            if not data[key]:  # as campaigns wrote it before there was this key
                del data[key]
        if data["budget"]["validation"] == "beside":
            del data["budget"]["validation"]
        if data["acquisition"]["deployment"] == "standalone":
            del data["acquisition"]["deployment"]
        for key in ("allowed_modules", "asynchronous", "memory"):
            if not data["execution"][key]:
                del data["execution"][key]
        for level in data["levels"]:
            for key in ("largest_force", "energy_window"):
                if level[key] == LevelConfig.model_fields[key].default:
                    del level[key]
        holders = [data["system"], data["pool"], *(v["oracle"] for v in data["levels"])]
        for holder in holders:
            for key in {"file", "path"} & set(holder):
                if isinstance(holder[key], str):
                    holder[key] = os.path.relpath(holder[key], self._folder)
        return json.dumps(data, sort_keys=True)

    def digest(self) -> str:
        """sha256 of the canonical JSON: what a resumed campaign is compared by."""
        return hashlib.sha256(self.canonical_json().encode()).hexdigest()


def load_campaign(path: str | Path) -> CampaignConfig:
    """The campaign that a YAML file describes, named after the file by default.

    Raises:
        ConfigError: one line with the file, the key, what came, and the remedy.
    """
    return read_section(path, CampaignConfig, name=Path(path).stem)


def _check_levels(config: CampaignConfig) -> None:
    names = [level.name for level in config.levels]
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise ValueError(
            f"levels: level {repeated[0]!r} is listed twice: give each its own name"
        )
    config.fidelities()
    highest = config.levels[-1]
    if "energy" not in highest.quantities:
        raise ValueError(
            f"levels[{len(names) - 1}].quantities: the highest level {highest.name!r} "
            f"has to give the energy, got {list(highest.quantities)}"
        )
    if config.pool_level not in names:
        raise ValueError(
            f"pool.level: there is no level {config.pool.level!r}, "
            f"{suggestion(config.pool.level, names)}"
        )
    sampling = config.levels[names.index(config.pool_level)]
    if config.pool.sampler == "md" and (
        "forces" not in sampling.quantities
        or sampling.oracle["code"] in ("replay", "manual")
    ):
        raise ValueError(
            f"pool.level: dynamics need forces at any geometry, level "
            f"{sampling.name!r} does not give them: choose another level, or "
            "`sampler: file`"
        )


def _check_sizes(config: CampaignConfig) -> None:
    parts = (
        f"{config.pool.size} geometries less {config.targets} targets"
        + (f", {config.n_probes} probes" if config.n_probes else "")
        + f" and {config.validation} held out leave {config.n_candidates} candidates"
    )
    if config.pilot > config.n_candidates:
        raise ValueError(
            f"pilot: {config.pilot} pilot labels need as many candidates, but {parts}: "
            "raise pool.size or lower targets, validation or pilot"
        )
    name = config.acquisition.name
    if config.targets == 0 and name in ("target_information", "integrated_variance"):
        raise ValueError(f"targets: {name} needs at least 1 target, got 0")


def _check_budget(config: CampaignConfig) -> None:
    budget, names = config.budget, [level.name for level in config.levels]
    for name in budget.costs or ():
        if name not in names:
            raise ValueError(
                f"budget.costs: there is no level {name!r}, {suggestion(name, names)}"
            )
    by_hand = [x.name for x in config.levels if x.oracle["code"] == "manual"]
    if by_hand and config.execution.asynchronous:
        raise ValueError(
            f"execution.asynchronous: labels of {by_hand[0]!r} are made by hand, batch by "
            "batch: leave it out"
        )
    if by_hand and budget.costs is None:
        raise ValueError(
            f"budget: what a label of {by_hand[0]!r} costs cannot be measured, since it "
            "is made by hand: give `cost` and `costs`"
        )
    missing = [name for name in names if name not in (budget.costs or names)]
    if missing:
        raise ValueError(f"budget.costs: level {missing[0]!r} has no cost: add it")
    remedy = "raise the budget or lower pilot"
    if budget.highest_labels is not None and budget.highest_labels < config.pilot:
        raise ValueError(
            f"budget.highest_labels: a budget of {budget.highest_labels} labels is "
            f"smaller than the pilot of {config.pilot}: {remedy}"
        )
    if budget.cost is not None and budget.costs is not None:
        pilot = config.pilot * sum(budget.costs.values())
        if budget.cost < pilot:
            raise ValueError(
                f"budget.cost: a budget of {budget.cost:g} is smaller than the pilot, "
                f"which costs {pilot:g}: {remedy}"
            )


def _check_deployment(config: CampaignConfig) -> None:
    if config.acquisition.deployment == "at_hand" and len(config.levels) == 1:
        raise ValueError(
            "acquisition.deployment: there is no lower level that could be at hand: "
            "leave it out"
        )


def _check_stopping(config: CampaignConfig) -> None:
    for i, section in enumerate(config.stopping):
        check_stopping(
            section,
            f"stopping[{i}]" if len(config.stopping) > 1 else "stopping",
            highest=config.levels[-1].name,
            quantities=config.levels[-1].quantities,
            n_levels=len(config.levels),
            validation=config.validation,
            n_probes=config.n_probes,
            acquisition=config.acquisition.name,
        )


def _check_atoms(config: CampaignConfig) -> None:
    from mfal.data.checks import check_structure

    atoms, system = config.system.atoms(), config.system
    codes = {level.oracle["code"] for level in config.levels}
    electrons = not codes <= set(CODES_WITHOUT_ELECTRONS)
    reason = check_structure(
        atoms,
        charge=system.charge,
        multiplicity=system.multiplicity if electrons else None,
    )
    if reason is not None:
        raise ValueError(f"system: {reason}")
    if isinstance(config.model.permutations, str):
        return
    for i, order in enumerate(config.model.permutations):
        place = f"model.permutations[{i}]: {list(order)}"
        if sorted(order) != list(range(len(atoms))):
            raise ValueError(f"{place} has to name each of {len(atoms)} atoms once")
        if (atoms.numbers[list(order)] != atoms.numbers).any():
            raise ValueError(f"{place} exchanges atoms of different species")


def _check_cells(config: CampaignConfig) -> None:
    """What moves atoms of a cell needs a model of cells, and a cell."""
    pool, highest = config.pool, config.levels[-1]
    periodic = bool(config.system.atoms().pbc.all())
    sparse = config.model.kind == "sparse"
    if pool.sampler == "rattle":
        if periodic and not sparse:
            raise ValueError(
                "pool.sampler: the model 'exact' describes an isolated molecule, the "
                "system is periodic: give `model: sparse`"
            )
        for key in ("strain", "supercell"):
            if not periodic and key in pool.model_fields_set:
                raise ValueError(
                    f"pool.{key}: needs a system that is periodic in all directions: "
                    "leave it out"
                )
    if config.explore is not None:
        check_explore(
            config.explore,
            highest=highest.name,
            quantities=highest.quantities,
            periodic=periodic,
            sparse=sparse,
            tolerance=config.acquisition.tolerance.forces,
        )
