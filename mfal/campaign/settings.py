"""The parts of a campaign's configuration, from the system to the execution."""

import difflib
from typing import Annotated, Any, Literal

from ase import Atoms
from pydantic import (
    AfterValidator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from mfal.campaign.sections import ExistingFile, Section, is_stored
from mfal.data.fidelity import LARGEST_FORCE, check_window


class SystemConfig(Section):
    """The molecule: a name of `ase.build.molecule` or a file with one structure."""

    molecule: str | None = None
    file: ExistingFile | None = None
    charge: int = 0
    multiplicity: PositiveInt = 1

    @field_validator("molecule")
    @classmethod
    def _molecule_is_known(cls, name: str | None, info: Any) -> str | None:
        if name is None or is_stored(info):
            return name
        from ase.build.molecule import extra  # half a second, for who only looks
        from ase.collections import g2

        names = [*g2.names, *extra]
        if name not in names:
            near = difflib.get_close_matches(name, names)
            raise ValueError(
                "ase.build.molecule does not know this name"
                + (f" (near: {', '.join(near)})" if near else "")
                + ": give another, or `file: start.xyz` in its place"
            )
        return name

    @model_validator(mode="after")
    def _one_source(self, info: Any) -> "SystemConfig":
        if (self.molecule is None) == (self.file is None):
            raise ValueError("give either `molecule: NAME` or `file: start.xyz`")
        if not is_stored(info):
            self.atoms()
        return self

    def atoms(self) -> Atoms:
        """The starting structure (Angstrom), not periodic unless its file says so."""
        from ase.build import molecule

        from mfal.data.frames import read_frames

        if self.file is None:
            return molecule(self.molecule)
        frames = list(read_frames(self.file))
        if len(frames) > 1:
            raise ValueError(f"{self.file} holds {len(frames)} structures: keep one")
        return frames[0].atoms


class LevelConfig(Section):
    """A reference method: its name, what runs, what it gives, and what is believed.

    A label with a force above `largest_force` (eV/A), or an energy per atom outside
    `energy_window` (lowest, highest; eV), is refused with the reason.
    """

    name: Annotated[str, Field(min_length=1)]
    oracle: dict[str, Any]
    quantities: tuple[Literal["energy", "forces", "stress"], ...] = ("energy", "forces")
    largest_force: PositiveFloat = LARGEST_FORCE
    energy_window: Annotated[
        tuple[float, float] | None, AfterValidator(check_window)
    ] = None

    @field_validator("oracle")
    @classmethod
    def _code_is_named(cls, oracle: dict[str, Any], info: Any) -> dict[str, Any]:
        if not isinstance(oracle.get("code"), str):
            raise ValueError("an oracle needs the key `code`, e.g. {code: tblite}")
        if oracle["code"] == "replay" and "path" in oracle:
            section = _Replayed.model_validate(
                {"path": oracle["path"]}, context=info.context
            )
            return {**oracle, "path": str(section.path)}
        return oracle


class _Replayed(Section):
    path: ExistingFile


DYNAMICS = ("level", "temperature", "timestep", "interval", "equilibration", "friction")
RATTLING = ("rattle", "strain", "supercell")
SAMPLERS = {  # the keys that mean something to each, beside `sampler` and `size`
    "md": DYNAMICS,
    "file": ("path",),
    "rattle": RATTLING,
}


class PoolConfig(Section):
    """Where the candidate geometries come from.

    `md`: `size` snapshots of Langevin dynamics at `level`; `file`: the first `size`
    structures of `path`; `rattle`: `size` copies of the system (of its `supercell`) with
    displacements of width `rattle` and random strains up to `strain`.
    """

    sampler: Literal["md", "file", "rattle"] = "md"
    path: ExistingFile | None = None
    level: str | None = None
    size: PositiveInt = 400
    temperature: PositiveFloat = 500.0  # K
    timestep: PositiveFloat = 0.5  # fs
    interval: PositiveInt = 20  # steps between geometries
    equilibration: NonNegativeInt = 1000  # steps
    friction: PositiveFloat = 0.01  # 1/fs
    rattle: PositiveFloat = 0.1  # A
    strain: Annotated[float, Field(ge=0, lt=1)] = 0.0
    supercell: tuple[PositiveInt, PositiveInt, PositiveInt] = (1, 1, 1)

    @model_validator(mode="after")
    def _keys_belong_to_the_sampler(self) -> "PoolConfig":
        if self.sampler == "file" and self.path is None:
            raise ValueError("`sampler: file` needs `path: pool.extxyz`")
        given = {k for k in self.model_fields_set if getattr(self, k) is not None}
        odd = given - {"sampler", "size", *SAMPLERS[self.sampler]}
        if odd:
            first = min(odd)
            home = next(s for s, keys in SAMPLERS.items() if first in keys)
            raise ValueError(f"`{first}` needs `sampler: {home}`: leave it out")
        return self

    def meaningful(self) -> tuple[str, ...]:
        """The keys that mean something to the sampler."""
        return ("sampler", "size", *SAMPLERS[self.sampler])


class BudgetConfig(Section):
    """What may be spent, the pilot included: exactly one of the first three.

    `costs` declares the cost of a label per level instead of measuring it; `cost` is
    in its units. Held-out labels are paid `beside` the budget, or from what is `reserved`
    for them of it once the pilot has shown what labels cost.
    """

    highest_labels: PositiveInt | None = None
    cpu_seconds: PositiveFloat | None = None
    cost: PositiveFloat | None = None
    costs: dict[str, PositiveFloat] | None = None
    validation: Literal["beside", "reserved"] = "beside"

    @model_validator(mode="after")
    def _one_limit(self) -> "BudgetConfig":
        limits = [self.highest_labels, self.cpu_seconds, self.cost]
        if sum(limit is not None for limit in limits) != 1:
            raise ValueError("give exactly one of highest_labels, cpu_seconds, cost")
        if self.cost is not None and self.costs is None:
            raise ValueError("`cost` needs `costs: {LEVEL: COST}` for every level")
        if self.cpu_seconds is not None and self.costs is not None:
            raise ValueError("declared `costs` have no seconds: give `cost`")
        return self


class SparseConfig(Section):
    """The features of a sparse or linear potential.

    `cutoffs`: of power spectra side by side. `scale`: where the weight of neighbours has
    fallen to a half; 0.85 times the nearest-neighbour distance unless it is given.
    `pairs`: pair potentials beside the kernel.
    """

    n_inducing: PositiveInt = 1500
    zeta: PositiveInt = 4
    cutoffs: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (5.0, 6.5)
    max_radial: PositiveInt = 8
    max_angular: NonNegativeInt = 6
    width: PositiveFloat = 0.5  # A
    scale: PositiveFloat | None = None  # A
    method: Literal["cholesky", "farthest", "random"] = "cholesky"
    pairs: bool = False


class ExactConfig(Section):
    """The exact Gaussian process of one molecule."""

    descriptor: Literal["inverse_distances"] = "inverse_distances"
    kernel: Literal["rbf", "matern52", "auto"] = "auto"
    permutations: Literal["auto", "none"] | tuple[tuple[NonNegativeInt, ...], ...] = (
        "auto"
    )

    @field_validator("permutations", mode="before")
    @classmethod
    def _orders_of_atoms(cls, value: Any) -> Any:
        lists = isinstance(value, list | tuple) and all(
            isinstance(order, list | tuple) and all(type(i) is int for i in order)
            for order in value
        )
        if not lists and value not in ("auto", "none"):
            raise ValueError(
                "has to be auto, none or a list of atom orders such as [[0, 2, 1]]"
            )
        return value


class ModelConfig(ExactConfig):
    """The Gaussian process that learns from all levels; its kind alone is enough.

    `exact`: one molecule. `sparse`: any composition, periodic or not; it reads `sparse`,
    the other keys belong to the exact model.
    """

    kind: Literal["exact", "sparse"] = "exact"
    sparse: SparseConfig = SparseConfig()

    @model_validator(mode="before")
    @classmethod
    def _kind_alone(cls, data: Any) -> Any:
        return {"kind": data} if isinstance(data, str) else data


class ToleranceConfig(Section):
    """The accuracy that is wanted of the highest level."""

    energy: PositiveFloat = 0.02  # eV
    forces: PositiveFloat = 0.1  # eV/A


class AcquisitionConfig(Section):
    """What is bought next.

    `target_information` (nats) and `integrated_variance` (in units of the tolerance)
    count what a label tells of the targets, `parameter_information` (nats) what it tells
    of the whole surface. With `deployment: at_hand` target information is that about what
    is left to know where the lowest level is computed in production, too.
    """

    name: Literal[
        "target_information",
        "integrated_variance",
        "parameter_information",
        "maximum_variance",
        "random",
    ] = "target_information"
    tolerance: ToleranceConfig = ToleranceConfig()
    batch: PositiveInt = 8
    low_level_first_above: PositiveFloat = 30.0  # cost of a high over a low label
    deployment: Literal["standalone", "at_hand"] = "standalone"

    @model_validator(mode="after")
    def _conditioned_by_target_information_alone(self) -> "AcquisitionConfig":
        if self.deployment == "at_hand" and self.name != "target_information":
            raise ValueError(
                f"{self.name} knows nothing of a level at hand: `name: "
                "target_information`, or `deployment: standalone`"
            )
        return self


class ExecutionConfig(Section):
    """How labels are run.

    `workers`: labels at once, whatever runs them. `memory`: GiB that a label may take in
    mfal's own workers; one that takes more has failed for good. `asynchronous`: a free
    worker gets the next best label (`mfal.campaign.asynchronous`). `allowed_modules`: of
    which, beside the built-in ones, levels of the code `python` may name a factory.
    """

    workers: PositiveInt = 2
    timeout: PositiveFloat = 600.0  # s per label
    memory: PositiveFloat | None = None  # GiB per label
    max_attempts: PositiveInt = 2
    max_failed_fraction: Annotated[float, Field(ge=0, le=1)] = 0.3
    asynchronous: bool = False
    allowed_modules: tuple[str, ...] = ()
