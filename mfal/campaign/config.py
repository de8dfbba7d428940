"""What a campaign is: the schema of its YAML file."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    Field,
    NonNegativeInt,
    PrivateAttr,
    field_validator,
    model_validator,
)

from mfal.campaign.sections import ConfigError, Section, read_section, suggestion
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
from mfal.campaign.stopping import FEWEST
from mfal.campaign.stopping_config import StoppingConfig
from mfal.data.checks import check_structure
from mfal.data.fidelity import Fidelity

__all__ = [
    "AcquisitionConfig",
    "BudgetConfig",
    "CampaignConfig",
    "ConfigError",
    "ExecutionConfig",
    "LevelConfig",
    "ModelConfig",
    "PoolConfig",
    "StoppingConfig",
    "SystemConfig",
    "ToleranceConfig",
    "load_campaign",
]

CODES_WITHOUT_ELECTRONS = ("emt", "replay", "python")  # multiplicity is not theirs


class CampaignConfig(Section):
    """All of a campaign; see tutorials/campaigns/ethanol.yaml for each key."""

    name: Annotated[str, Field(min_length=1)] = "campaign"
    seed: NonNegativeInt = 0
    system: SystemConfig
    levels: Annotated[tuple[LevelConfig, ...], Field(min_length=1)]
    pool: PoolConfig = PoolConfig()
    targets: NonNegativeInt = 40
    pilot: Annotated[int, Field(ge=3)] = 8
    budget: BudgetConfig
    validation: NonNegativeInt = 40
    comparison: bool = True  # with random and single-level labels, at the end
    model: ModelConfig = ModelConfig()
    acquisition: AcquisitionConfig = AcquisitionConfig()
    stopping: tuple[StoppingConfig, ...] = ()  # besides the budget; one of them holds
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
    def _parts_fit_together(self) -> "CampaignConfig":
        checks = (_check_levels, _check_sizes, _check_budget, _check_stopping)
        for check in (*checks, _check_atoms):
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
        """Pool geometries that may be bought: neither targets nor held out."""
        return self.pool.size - self.targets - self.validation

    def fidelities(self) -> tuple[Fidelity, ...]:
        """The levels, low to high, at the charge and multiplicity of the system."""
        return tuple(
            Fidelity(
                level.name,
                level.oracle,
                level.quantities,
                self.system.charge,
                self.system.multiplicity,
            )
            for level in self.levels
        )

    def canonical_json(self) -> str:
        """All keys, defaults included, in one order; paths relative to the file.

        Equal for equal campaigns, wherever their folder stands.
        """
        data = self.model_dump(mode="json")
        if self.pool.sampler == "file":  # the other keys mean nothing then
            data["pool"] = {k: data["pool"][k] for k in ("sampler", "path", "size")}
        if not self.stopping:  # as campaigns wrote it before there was this key
            del data["stopping"]
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
        "forces" not in sampling.quantities or sampling.oracle["code"] == "replay"
    ):
        raise ValueError(
            f"pool.level: dynamics need forces at any geometry, level "
            f"{sampling.name!r} does not give them: choose another level, or "
            "`sampler: file`"
        )


def _check_sizes(config: CampaignConfig) -> None:
    parts = (
        f"{config.pool.size} geometries less {config.targets} targets and "
        f"{config.validation} held out leave {config.n_candidates} candidates"
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


def _check_stopping(config: CampaignConfig) -> None:
    highest = config.levels[-1]
    for i, section in enumerate(config.stopping):
        place = f"stopping[{i}]" if len(config.stopping) > 1 else "stopping"
        if section.forces_rmse is not None and "forces" not in highest.quantities:
            raise ValueError(
                f"{place}.forces_rmse: the highest level {highest.name!r} gives no "
                "forces: leave this target out"
            )
        if section.errors == "validation" and config.validation < FEWEST:
            raise ValueError(
                f"{place}.errors: {config.validation} held-out labels tell nothing of "
                f"errors: raise validation to {FEWEST} at least, or `leave_one_out`"
            )
        if section.deployment == "at_hand" and len(config.levels) == 1:
            raise ValueError(
                f"{place}.deployment: there is no lower level that could be at hand: "
                "leave it out"
            )
        if section.marginal_value is not None and config.acquisition.name == "random":
            raise ValueError(
                f"{place}.marginal_value: random labels have no value: choose another "
                "acquisition, or leave it out"
            )


def _check_atoms(config: CampaignConfig) -> None:
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
