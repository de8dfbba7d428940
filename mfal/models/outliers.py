r"""Labels that stand out: of another structure, of another level, or gone astray.

A structure k has residuals r_k (one energy, 3 n_atoms force components). By

.. math:: u_k = \Big(\tfrac{1}{n_k} \textstyle\sum_i r_{ki}^2\Big)^{1/3}, \qquad
          z_k = \frac{u_k - \operatorname{med} u}{1.4826\, \operatorname{mad} u},

u is nearly normal for normal residuals of any number and correlation, and median and
mad do not move with less than half of wrong labels. A structure is flagged where z is
above the limit that the largest of n sound ones passes with the stated probability:

.. math:: z_k > t_\nu^{-1}\big((1 - \alpha)^{1/n}\big), \qquad \nu = 0.37\, n,

Student's t, since the mad of n values knows the scale as well as a standard deviation
of 0.37 n values.

Source: Wilson, Hilferty (1931), PNAS 17, 684 (cube root); Rousseeuw, Croux (1993), J.
Am. Stat. Assoc. 88, 1273 (mad and its efficiency of 37 %); Iglewicz, Hoaglin (1993),
How to Detect and Handle Outliers (z from the mad).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import t, theilslopes

from mfal.data import LabelledDataset
from mfal.models.residuals import Residuals

FEWEST = 8
"""Structures below which none is said to stand out."""

FALSE_ALARMS = 0.01
"""Probability that any of a set of sound labels is flagged."""

_EFFICIENCY = 0.37
_MOST_FOR_SLOPE = 400


@dataclass(frozen=True)
class Outlier:
    """A structure whose residual stands out; `size` (its root mean square) in `unit`.

    `times_usual` is that of the median structure over; `z` and `limit` are those at the
    head of the module, infinite for labels with the same numbers at both levels.
    """

    structure: int
    quantity: str
    size: float
    times_usual: float
    z: float
    limit: float

    @property
    def unit(self) -> str:
        """eV/A, or eV per square root of the number of atoms."""
        return "eV/A" if self.quantity == "forces" else "eV/√atom"

    def sentence(self, low: str, high: str) -> str:
        """What is odd about its labels at two levels, for a person."""
        where = f"look at structure {self.structure}: its {self.quantity}"
        if math.isinf(self.z):
            return f"{where} are the same numbers at {low} and {high}"
        return (
            f"{where} at {high} are {self.size:.3g} {self.unit} off those at {low}, "
            f"{self.times_usual:.1f} times what is usual"
        )


def paired_outliers(
    dataset: LabelledDataset,
    low: str,
    high: str,
    *,
    false_alarms: float = FALSE_ALARMS,
) -> list[Outlier]:
    r"""Structures whose labels at two levels do not belong together, the oddest first.

    The residual is r = H - ρ L of the forces; of energies, over the square root of the
    number of atoms, r = H - ρ L - a with a of each composition. ρ is the median of the
    slopes of the structures, weighted by |L|^2 (of energies without forces that of Theil
    and Sen), a is a median: what is left when the other labels have said what belongs
    together, as no single one can move a median.

    Forces tell labels of another structure. Of labels that changed their levels they
    tell little where ρ is near 1 (the residual only changes its sign); energies tell
    those, as the zeros of two methods differ, and so do `left_out_outliers`.

    Raises:
        ValueError: an unknown level, or a probability that is not in (0, 1).
    """
    for name in (low, high):
        if name not in dataset.levels:
            raise ValueError(
                f"there is no level {name!r}: the levels are {dataset.levels}"
            )
    forces = _pairs(dataset, low, high, "forces")
    energies = _pairs(dataset, low, high, "energy")
    slope = _slope_of_forces(forces) if forces else None
    residuals = {i: b - (slope or 0.0) * a for i, (a, b) in forces.items()}
    return sorted(
        [
            *_same_numbers(forces, "forces"),
            *_same_numbers(energies, "energy"),
            *_flagged(residuals, "forces", false_alarms),
            *_flagged(
                _energy_residuals(dataset, energies, slope), "energy", false_alarms
            ),
        ],
        key=lambda found: (-found.z, found.structure),
    )


def left_out_outliers(
    residuals: Mapping[str, Residuals], *, false_alarms: float = FALSE_ALARMS
) -> list[Outlier]:
    """Structures whose standardised left-out residuals stand out, the oddest first.

    Of the residuals of `mfal.models.residuals.left_out_residuals`, with "at_hand" those
    of the discrepancy between levels: a model knows its sign, so labels that changed
    their levels are seen too. Sizes are in sigmas.

    Raises:
        ValueError: a probability that is not in (0, 1).
    """
    found = []
    for quantity, all_of_them in residuals.items():
        z, owner = all_of_them.standardised, all_of_them.structure
        by_structure = {int(i): z[owner == i] for i in np.unique(owner)}
        found += _flagged(by_structure, quantity, false_alarms)
    return sorted(found, key=lambda one: (-one.z, one.structure))


def limit(n: int, false_alarms: float) -> float:
    """The z that the largest of n normal values passes with this probability.

    Raises:
        ValueError: a probability that is not in (0, 1).

    >>> round(limit(100, 0.01), 2)
    4.13
    """
    if not 0 < false_alarms < 1:
        raise ValueError(
            f"a probability of false alarms is in (0, 1), got {false_alarms}"
        )
    return float(t.isf(-math.expm1(math.log1p(-false_alarms) / n), _EFFICIENCY * n))


def _flagged(
    residuals: Mapping[int, Float[np.ndarray, " _"]], quantity: str, false_alarms: float
) -> list[Outlier]:
    most = limit(max(len(residuals), 1), false_alarms)
    if len(residuals) < FEWEST:
        return []
    structures = list(residuals)
    squares = np.array([np.mean(np.square(residuals[i])) for i in structures])
    u = np.cbrt(squares)
    middle = np.median(u)
    mad = np.median(np.abs(u - middle))
    if not mad > 0:  # most residuals are alike, e.g. a level that is a multiple
        return []
    z = (u - middle) / (1.4826 * mad)
    usual = math.sqrt(float(np.median(squares)))
    return [
        Outlier(
            structures[k],
            quantity,
            math.sqrt(float(squares[k])),
            math.sqrt(float(squares[k])) / usual,
            float(z[k]),
            most,
        )
        for k in np.flatnonzero(z > most)
    ]


_Pairs = dict[int, tuple[np.ndarray, np.ndarray]]


def _pairs(dataset: LabelledDataset, low: str, high: str, quantity: str) -> _Pairs:
    """What both levels say of a structure, as flat arrays."""
    found = {}
    for i in dataset.paired(low, high):
        a, b = (getattr(dataset.labels[i, name], quantity) for name in (low, high))
        if a is not None and b is not None:
            found[i] = (np.ravel(a), np.ravel(b))
    return found


def _same_numbers(pairs: _Pairs, quantity: str) -> list[Outlier]:
    """Pairs of equal labels, unless that is how most of them are."""
    same = [i for i, (a, b) in pairs.items() if a.any() and np.array_equal(a, b)]
    if len(pairs) < FEWEST or 2 * len(same) > len(pairs):
        return []
    return [Outlier(i, quantity, 0.0, 0.0, math.inf, math.inf) for i in same]


def _slope_of_forces(pairs: _Pairs) -> float:
    """The median of H.L / |L|^2 over the structures, each counted |L|^2 times."""
    weights = np.array([float(a @ a) for a, _ in pairs.values()])
    products = np.array([float(a @ b) for a, b in pairs.values()])
    known = weights > 0
    if not known.any():
        return 0.0
    slopes, weights = products[known] / weights[known], weights[known]
    order = np.argsort(slopes)
    half = np.searchsorted(np.cumsum(weights[order]), 0.5 * weights.sum())
    return float(slopes[order][half])


def _energy_residuals(
    dataset: LabelledDataset, pairs: _Pairs, slope: float | None
) -> dict[int, np.ndarray]:
    """H - ρ L less its median among structures of the same atoms, if there are enough."""
    alike: dict[str, list[int]] = {}
    for i in pairs:
        formula = dataset.structures[i].get_chemical_formula()
        alike.setdefault(formula, []).append(i)
    groups = [group for group in alike.values() if len(group) >= FEWEST]
    if not groups:
        return {}
    centred = [
        _centred(np.array([pairs[i] for i in group])[:, :, 0]) for group in groups
    ]
    if slope is None:
        slope = _slope_of_energies(centred)
    found: dict[int, np.ndarray] = {}
    for group, values in zip(groups, centred, strict=True):
        left = values[:, 1] - slope * values[:, 0]
        left = (left - np.median(left)) / math.sqrt(len(dataset.structures[group[0]]))
        found |= {i: left[k : k + 1] for k, i in enumerate(group)}
    return found


def _centred(values: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
    return values - np.median(values, axis=0)


def _slope_of_energies(centred: Sequence[Float[np.ndarray, "_ 2"]]) -> float:
    """The median slope of two structures of the same atoms."""
    both = np.concatenate(centred)
    chosen = np.random.default_rng(0).permutation(len(both))[:_MOST_FOR_SLOPE]
    x, y = both[chosen].T
    return float(theilslopes(y, x).slope) if np.ptp(x) > 0 else 0.0
