"""The section `stopping` of a campaign: what has to hold before it stops."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from mfal.campaign.sections import Section

TARGETS = ("energy_mae", "forces_rmse", "ece", "largest_residual", "marginal_value")


class StoppingConfig(Section):
    """Targets that all hold in `patience` steps in a row; the budget ends it anyhow.

    `ece` is of forces and, once they are enough to tell, of energies. `largest_residual`
    is |error| over calibrated sigma. `marginal_value`: the best label of a batch gains
    less per cost. Errors are those of the way of `deployment`; what is compared is their
    upper confidence limit at `confidence` (0.5: the error itself).
    """

    energy_mae: PositiveFloat | None = None  # eV/atom
    forces_rmse: PositiveFloat | None = None  # eV/A
    ece: Annotated[float, Field(gt=0, lt=1)] | None = None
    largest_residual: PositiveFloat | None = None
    marginal_value: PositiveFloat | None = None  # nats per unit of the budget
    patience: PositiveInt = 2
    errors: Literal["leave_one_out", "validation"] = "leave_one_out"
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
