"""The section `stopping` of a campaign: what has to hold before it stops."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from mfal.campaign.sections import Section
from mfal.campaign.stopping import FEWEST

TARGETS = ("energy_mae", "forces_rmse", "ece", "largest_residual", "marginal_value")


class StoppingConfig(Section):
    """Targets that all hold in `patience` steps in a row; the budget ends it anyhow.

    `ece` is of forces and, once they are enough to tell, of energies. `largest_residual`
    is |error| over calibrated sigma. `marginal_value`: the best label of a batch gains
    less per cost. Errors are those of labels left out, of held-out labels, or those
    predicted at probes (`mfal.campaign.judging`), in the way of `deployment`; compared is
    their upper confidence limit at `confidence` (0.5: the error itself).
    """

    energy_mae: PositiveFloat | None = None  # eV/atom
    forces_rmse: PositiveFloat | None = None  # eV/A
    ece: Annotated[float, Field(gt=0, lt=1)] | None = None
    largest_residual: PositiveFloat | None = None
    marginal_value: PositiveFloat | None = None  # nats per unit of the budget
    patience: PositiveInt = 2
    errors: Literal["leave_one_out", "predicted", "validation"] = "leave_one_out"
    deployment: Literal["standalone", "at_hand"] = "standalone"
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.5

    @model_validator(mode="after")
    def _something_is_asked(self) -> "StoppingConfig":
        if all(getattr(self, name) is None for name in TARGETS):
            raise ValueError(
                f"nothing is asked for: give one or more of {', '.join(TARGETS)}, or "
                "leave the section out (the budget alone)"
            )
        return self

    @property
    def source(self) -> str:
        """What the errors are of, as the records of steps name it."""
        return f"{self.errors} {self.deployment} {self.confidence:g}"


def check_stopping(
    section: StoppingConfig,
    place: str,
    *,
    highest: str,
    quantities: Sequence[str],
    n_levels: int,
    validation: int,
    n_probes: int,
    acquisition: str,
) -> None:
    """Refuse targets that the rest of the campaign cannot tell of; `place` names them.

    Raises:
        ValueError: forces that the highest level does not give, too few held-out labels
            or probes, no level that could be at hand, or the value of random labels.
    """
    if section.forces_rmse is not None and "forces" not in quantities:
        raise ValueError(
            f"{place}.forces_rmse: the highest level {highest!r} gives no "
            "forces: leave this target out"
        )
    if section.errors == "validation" and validation < FEWEST:
        raise ValueError(
            f"{place}.errors: {validation} held-out labels tell nothing of "
            f"errors: raise validation to {FEWEST} at least, or `leave_one_out`"
        )
    if section.errors == "predicted" and n_probes < FEWEST:
        raise ValueError(
            f"{place}.errors: {n_probes} probes tell nothing of errors: raise probes to "
            f"{FEWEST} at least, or `leave_one_out`"
        )
    if section.errors == "predicted" and section.deployment == "at_hand":
        raise ValueError(
            f"{place}.errors: probes have no label of a lower level at hand: "
            "`leave_one_out`, or `deployment: standalone`"
        )
    if section.deployment == "at_hand" and n_levels == 1:
        raise ValueError(
            f"{place}.deployment: there is no lower level that could be at hand: "
            "leave it out"
        )
    if section.marginal_value is not None and acquisition == "random":
        raise ValueError(
            f"{place}.marginal_value: random labels have no value: choose another "
            "acquisition, or leave it out"
        )
