"""The published test functions, on their own domains; the lowest level first.

Each takes an array of points, one a row, and gives one value a point.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Values = np.ndarray
Level = Callable[[np.ndarray], Values]


@dataclass(frozen=True)
class Family:
    """Levels of one function over a box."""

    levels: tuple[Level, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]

    @property
    def dimension(self) -> int:
        return len(self.lower)

    def __call__(self, level: int, unit: np.ndarray) -> Values:
        """A level at points of the unit cube."""
        lower, upper = np.array(self.lower), np.array(self.upper)
        return self.levels[level](lower + (upper - lower) * unit)


def forrester(x: np.ndarray) -> Values:
    """f(x) = (6 x - 2)^2 sin(12 x - 4). Source: Forrester et al. (2007), section 5."""
    return ((6 * x - 2) ** 2 * np.sin(12 * x - 4))[:, 0]


def forrester_low(x: np.ndarray) -> Values:
    """f(x) / 2 + 10 (x - 1/2) - 5. Source: Forrester et al. (2007), section 5."""
    return 0.5 * forrester(x) + 10 * (x[:, 0] - 0.5) - 5


def currin(x: np.ndarray) -> Values:
    """(1 - exp(-1 / 2 x_2)) times a ratio of cubics. Source: Currin et al. (1991)."""
    a, b = x.T
    with np.errstate(divide="ignore"):
        first = 1 - np.exp(-0.5 / b)  # 1 at b = 0
    above = 2300 * a**3 + 1900 * a**2 + 2092 * a + 60
    below = 100 * a**3 + 500 * a**2 + 4 * a + 20
    return first * above / below


def currin_low(x: np.ndarray) -> Values:
    """Mean of the high level at the corners of a small square around the point.

    Source: Xiong, Qian, Wu (2013), Technometrics 55, 37.
    """
    a, b = x.T
    below = np.maximum(0, b - 0.05)
    corners = [(a + s, c) for s in (0.05, -0.05) for c in (b + 0.05, below)]
    return np.mean([currin(np.column_stack(corner)) for corner in corners], axis=0)


def _borehole(x: np.ndarray, factor: float, one: float) -> Values:
    rw, r, tu, hu, tl, hl, length, kw = x.T
    log = np.log(r / rw)
    series = one + 2 * length * tu / (log * rw**2 * kw) + tu / tl
    return factor * tu * (hu - hl) / (log * series)


def borehole(x: np.ndarray) -> Values:
    """Flow of water through a borehole (m^3/yr). Source: Morris et al. (1993)."""
    return _borehole(x, 2 * np.pi, 1.0)


def borehole_low(x: np.ndarray) -> Values:
    """5 for 2 pi and 1.5 for 1. Source: Xiong, Qian, Wu (2013)."""
    return _borehole(x, 5.0, 1.5)


HARTMANN_A = np.array(
    [
        [10, 3, 17, 3.5, 1.7, 8],
        [0.05, 10, 17, 0.1, 8, 14],
        [3, 3.5, 1.7, 10, 17, 8],
        [17, 8, 0.05, 10, 0.1, 14],
    ]
)
HARTMANN_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def _hartmann_exponents(x: np.ndarray) -> np.ndarray:
    return -np.einsum("ij,nij->ni", HARTMANN_A, (x[:, None] - HARTMANN_P) ** 2)


def hartmann(x: np.ndarray) -> Values:
    """-(2.58 + sum_i alpha_i exp(...)) / 1.94.

    Source: Park, Haftka, Kim (2017), Struct. Multidisc. Optim. 55, 1029, in the form of
    van Rijn and Schmitt (2020), J. Open Source Softw. 5, 2049.
    """
    alpha = np.array([1.0, 1.2, 3.0, 3.2])
    return -(2.58 + np.exp(_hartmann_exponents(x)) @ alpha) / 1.94


def hartmann_low(x: np.ndarray) -> Values:
    """Other weights, (exp(-4/9) (1 + (z + 4) / 9))^9 for exp(z). Source: as `hartmann`."""
    alpha = np.array([0.5, 0.5, 2.0, 4.0])
    terms = (np.exp(-4 / 9) * (1 + (_hartmann_exponents(x) + 4) / 9)) ** 9
    return -(2.58 + terms @ alpha) / 1.94


def park(x: np.ndarray) -> Values:
    """Source: Park (1991), function 1; Cox, Park, Singer (2001)."""
    a, b, c, d = x.T
    root = a / 2 * (np.sqrt(1 + (b + c**2) * d / a**2) - 1)
    return root + (a + 3 * d) * np.exp(1 + np.sin(c))


def park_low(x: np.ndarray) -> Values:
    """(1 + sin(x_1) / 10) f - 2 x_1 + x_2^2 + x_3^2 + 1/2. Source: Xiong et al. (2013)."""
    a, b, c, _ = x.T
    return (1 + np.sin(a) / 10) * park(x) - 2 * a + b**2 + c**2 + 0.5


def branin(x: np.ndarray) -> Values:
    """Source: Branin (1972); the highest level of three in Perdikaris et al. (2017)."""
    a, b = x.T
    bowl = b - 5.1 / (4 * np.pi**2) * a**2 + 5 / np.pi * a - 6
    return bowl**2 + 10 * (1 - 1 / (8 * np.pi)) * np.cos(a) + 10


def branin_middle(x: np.ndarray) -> Values:
    """10 sqrt(f(x - 2)) + 2 (x_1 - 1/2) - 3 (3 x_2 - 1) - 1.

    Source: Perdikaris et al. (2017), Proc. R. Soc. A 473, 20160751, section 3.b.
    """
    return 10 * np.sqrt(branin(x - 2)) + 2 * (x[:, 0] - 0.5) - 3 * (3 * x[:, 1] - 1) - 1


def branin_low(x: np.ndarray) -> Values:
    """f_middle(1.2 (x + 2)) - 3 x_2 + 1. Source: as `branin_middle`."""
    return branin_middle(1.2 * (x + 2)) - 3 * x[:, 1] + 1


def useless(x: np.ndarray) -> Values:
    """The Branin function over the unit square, inputs exchanged and mirrored.

    It says nothing of the Currin function: their correlation is 0.03.
    """
    return branin(np.array([-5, 0]) + 15 * (1 - x[:, ::-1]))


FORRESTER = Family((forrester_low, forrester), (0.0,), (1.0,))
CURRIN = Family((currin_low, currin), (0.0,) * 2, (1.0,) * 2)
BOREHOLE = Family(
    (borehole_low, borehole),
    (0.05, 100, 63070, 990, 63.1, 700, 1120, 9855),
    (0.15, 50000, 115600, 1110, 116, 820, 1680, 12045),
)
HARTMANN = Family((hartmann_low, hartmann), (0.1,) * 6, (1.0,) * 6)
PARK = Family((park_low, park), (0.0,) * 4, (1.0,) * 4)
BRANIN = Family((branin_low, branin_middle, branin), (-5.0, 0.0), (10.0, 15.0))
USELESS = Family((useless, currin), (0.0,) * 2, (1.0,) * 2)
