"""The section `explore` of a campaign: dynamics with the potential as it learns."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from mfal.campaign.sections import Section

MULTIPLES = (2.0, 10.0)
"""Soft and hard thresholds of `extrapolation`, in multiples of the monitor's own."""

TOLERANCES = (1.0, 5.0)
"""The same of `force_sigma`, in tolerances of forces."""


class ExploreConfig(Section):
    """Before each `every`-th acquired batch `runs` of dynamics look for new structures.

    They start from structures that the potential has learned, at the `temperatures` in
    turn; `ensemble` nvt (Langevin) or npt (needs cells). `bias` is the mean force along
    the slope of sigma, as a share of the mean force. What the `monitor` flags at `soft`
    or beyond (at most one in `interval` steps), what it stops at `hard`, and the last
    structure before that, are gathered, unless they are unphysical or nearer than
    `closest` (times the median distance between neighbours in the pool) to one that is
    there; at most `most`, the largest grades first. A share `targets` of them become
    targets where the acquisition has any, the others candidates.
    """

    every: PositiveInt = 1
    runs: PositiveInt = 4
    temperatures: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (500.0,)
    steps: PositiveInt = 500
    timestep: PositiveFloat = 0.5  # fs
    interval: PositiveInt = 20
    ensemble: Literal["nvt", "npt"] = "nvt"
    friction: PositiveFloat = 0.01  # 1/fs
    pressure: float = 0.0  # GPa
    bias: NonNegativeFloat = 0.0
    monitor: Literal["extrapolation", "force_sigma"] = "extrapolation"
    soft: PositiveFloat | None = None
    hard: PositiveFloat | None = None
    closest: NonNegativeFloat = 0.5
    most: PositiveInt = 20
    targets: Annotated[float, Field(ge=0, lt=1)] = 0.25

    @field_validator("temperatures", mode="before")
    @classmethod
    def _one_is_enough(cls, value: Any) -> Any:
        return (value,) if isinstance(value, int | float) else value

    @model_validator(mode="after")
    def _keys_fit_together(self) -> "ExploreConfig":
        if self.pressure and self.ensemble != "npt":
            raise ValueError(
                "`pressure` needs `ensemble: npt`: add it, or leave it out"
            )
        if self.interval > self.steps:
            raise ValueError(
                f"an interval of {self.interval} is longer than a run of {self.steps} "
                "steps: lower interval or raise steps"
            )
        soft, hard = self.thresholds(1.0)
        given = [x for x in (self.soft, self.hard) if x is not None]
        both = len(given) == 2
        if (both or self.monitor == "extrapolation") and not soft < hard:
            raise ValueError(
                f"the soft threshold has to be below the hard one, got soft {soft:g} "
                f"and hard {hard:g}: change one of them"
            )
        return self

    def thresholds(self, tolerance: float) -> tuple[float, float]:
        """Soft and hard: multiples of the monitor's thresholds, or eV/A.

        Without numbers of their own those of `force_sigma` are 1 and 5 times the
        tolerance of forces (eV/A).
        """
        usual = MULTIPLES
        if self.monitor == "force_sigma":
            usual = (TOLERANCES[0] * tolerance, TOLERANCES[1] * tolerance)
        soft = usual[0] if self.soft is None else self.soft
        hard = usual[1] if self.hard is None else self.hard
        return soft, hard


def check_explore(
    explore: ExploreConfig,
    *,
    highest: str,
    quantities: Sequence[str],
    periodic: bool,
    sparse: bool,
    tolerance: float,
) -> None:
    """Refuse an exploration that the rest of the campaign cannot do.

    Raises:
        ValueError: no forces at the highest level, a pressure on a molecule, cells
            without a sparse model, or thresholds in the wrong order.
    """
    if "forces" not in quantities:
        raise ValueError(
            f"explore: the highest level {highest!r} gives no forces, which dynamics and "
            "its thresholds are learned from: add forces to its quantities, or leave "
            "explore out"
        )
    if explore.ensemble == "npt" and not periodic:
        raise ValueError(
            "explore.ensemble: npt needs a system that is periodic in all directions, "
            "this one is not: use nvt"
        )
    if periodic and not sparse:
        raise ValueError(
            "explore: the model 'exact' describes an isolated molecule, the system is "
            "periodic: give `model: sparse`"
        )
    soft, hard = explore.thresholds(tolerance)
    if not soft < hard:
        raise ValueError(
            f"explore.soft: the soft threshold {soft:g} eV/A has to be below the hard "
            f"one {hard:g} eV/A (by default 1 and 5 times acquisition.tolerance.forces): "
            "give both"
        )
