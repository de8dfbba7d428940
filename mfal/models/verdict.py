r"""The verdict on a low level: what is found, what it means, what it saves."""

import math
from dataclasses import dataclass
from typing import Literal

from mfal.models.paired import PairedFit

USEFUL = 0.5
"""Leave-one-out R^2 from which a low level is used. In trials useful low levels had 0.71
to 0.98, useless ones less than 0.38."""

Verdict = Literal["use it", "leave it", "too few pairs"]


@dataclass(frozen=True)
class FidelityDiagnosis:
    """Whether a low level is worth buying, and why. What is not known is `None`.

    | field | is |
    |---|---|
    | `low`, `high` | names or numbers of the levels |
    | `verdict` | `use it` if R^2 is at least 0.5, `leave it`, or `too few pairs` |
    | `rho`, `rho_error` | scale from low to high: of the fitted model, else of the pairs |
    | `correlation` | of the paired labels |
    | `explained` | its square: share of the variance that a scaled low level explains |
    | `r2` | the same share with each pair left out of its own scale |
    | `n_pairs` | pairs behind these |
    | `cost_ratio` | cost of a high label over that of a low one |
    | `expected_saving` | see `expected_saving` |
    | `log_evidence_joint` | of the labels (of potentials: of the high ones), the high |
    | | level built on the low one, see `mfal.models.level_evidence`; nats |
    | `log_evidence_independent` | of the same labels, levels that share nothing |
    | `sentence` | all of this in words |

    All but evidences (nats) and rho of vectors are without a unit.

    Source: Kennedy & O'Hagan (2000), Biometrika 87, 1, eq. 1, for rho; Bishop (2006),
    section 3.4, for the comparison of evidences; Allen (1974), Technometrics 16, 125, for
    leaving out. The bound of R^2 is from trials of our own.
    """

    low: str
    high: str
    verdict: Verdict
    n_pairs: int
    rho: float | None = None
    rho_error: float | None = None
    correlation: float | None = None
    explained: float | None = None
    r2: float | None = None
    cost_ratio: float | None = None
    expected_saving: float | None = None
    log_evidence_joint: float | None = None
    log_evidence_independent: float | None = None
    sentence: str = ""

    @property
    def useful(self) -> bool:
        """Whether the verdict is to use the low level."""
        return self.verdict == "use it"


def expected_saving(r2: float, cost_ratio: float) -> float:
    r"""How many times less the same error costs with the low level.

    .. math:: \Big(\sqrt{1 - R^2} + \sqrt{R^2 / r}\Big)^{-2}

    The model: the squared error of what is learned from n labels is its variance over
    n. Alone, the high level has all of its variance V to learn. Jointly, the low level
    has R^2 V at a cost per label that is r times smaller, the discrepancy has the rest;
    the formula is the ratio of costs at equal error with the best split of labels.
    Below 1 the low level costs more than it saves; with the low level at hand for
    nothing (r without limit) it is 1 / (1 - R^2).

    Source: Peherstorfer, Willcox, Gunzburger (2016), SIAM J. Sci. Comput. 38, A3163,
    eq. 3.16 for two models.

    >>> round(expected_saving(0.95, 10.0), 1)
    3.5
    """
    share = min(max(r2, 0.0), 1.0)
    root = math.sqrt(1 - share) + math.sqrt(share / cost_ratio)
    return root**-2 if root else math.inf


def judged(
    low: str,
    high: str,
    what: str,
    n_pairs: int,
    fit: PairedFit | None,
    cost_ratio: float | None,
    predicted: bool = False,
) -> FidelityDiagnosis:
    """The verdict on a regression of paired labels, in words too."""
    if fit is None:
        sentence = (
            f"{low} and {high} share {what} on {n_pairs} points: too few for a verdict."
        )
        return FidelityDiagnosis(
            low,
            high,
            "too few pairs",
            n_pairs,
            cost_ratio=cost_ratio,
            sentence=sentence,
        )
    useful = fit.r2 >= USEFUL
    labels = f"{fit.n_pairs} paired labels"
    if predicted:
        labels = f"{fit.n_pairs} {high} labels beside predictions of {low}"
    sentence = (
        f"{labels}: {low} {what}, scaled by {fit.scale:.3f}, explain "
        f"{100 * max(fit.r2, 0.0):.0f} % of the {high} {what} (leave-one-out): "
        + ("the low level is used." if useful else "the low level is left.")
    )
    saving = None
    if cost_ratio is not None:
        saving = expected_saving(fit.r2, cost_ratio)
        if useful:
            sentence += (
                f" At a cost ratio of {cost_ratio:.3g} the same error is expected for "
                f"{saving:.1f} times less."
            )
    return FidelityDiagnosis(
        low,
        high,
        "use it" if useful else "leave it",
        fit.n_pairs,
        rho=fit.scale,
        rho_error=fit.scale_error,
        correlation=fit.correlation,
        explained=fit.correlation**2,
        r2=fit.r2,
        cost_ratio=cost_ratio,
        expected_saving=saving,
        sentence=sentence,
    )
