"""What data of several levels must be before an autoregressive model takes them."""

import torch
from jaxtyping import Float, Int
from scipy.stats import norm, t
from torch import Tensor

MOST_ROWS = 6000


def checked_levels(
    train_X: Tensor, fidelity_column: int, n_levels: int | None
) -> tuple[Int[Tensor, " n"], int, int]:
    """The level of each row, the column from the left, and the number of levels.

    Raises:
        ValueError: the column does not exist, or a level is not an integer from 0 to
            n_levels - 1.
    """
    d = train_X.shape[-1]
    if not -d <= fidelity_column < d:
        raise ValueError(
            f"fidelity_column must be a column of train_X ({d} columns), "
            f"got {fidelity_column}"
        )
    if d < 2:
        raise ValueError(
            "train_X needs at least one column beside the level, got one column"
        )
    column = fidelity_column % d
    value = train_X[..., column]
    level = value.round().long()
    highest = int(level.max()) + 1 if n_levels is None else n_levels
    if (level != value).any() or (level < 0).any() or (level >= highest).any():
        wrong = sorted(set(value.reshape(-1).tolist()))
        raise ValueError(
            f"levels must be integers 0, 1, ..., {max(highest - 1, 0)} in column "
            f"{column} of train_X, got {wrong[:8]}: number the methods from the "
            "cheapest, 0, upwards (and do not normalise that column)"
        )
    return level, column, highest


def check_training_data(
    train_X: Tensor, train_Y: Tensor, train_Yvar: Tensor | None
) -> None:
    """Shapes n x d, n x 1 (and n x 1), float64 recommended, nothing missing.

    Raises:
        ValueError: another shape, no rows, NaN or infinity, a negative variance.
    """
    if train_X.dim() != 2 or len(train_X) < 1:
        raise ValueError(
            f"train_X must be n x d with n > 0, got shape {tuple(train_X.shape)}"
        )
    expected = (len(train_X), 1)
    for name, y in (("train_Y", train_Y), ("train_Yvar", train_Yvar)):
        if y is not None and tuple(y.shape) != expected:
            raise ValueError(
                f"{name} must be n x 1 = {expected[0]} x 1, one value per row of "
                f"train_X, got shape {tuple(y.shape)}"
            )
    for name, values in (("train_X", train_X), ("train_Y", train_Y)):
        bad = (~values.isfinite()).any(dim=-1).nonzero().flatten()
        if len(bad):
            raise ValueError(
                f"{name} must be finite, got NaN or infinity in row(s) "
                f"{bad[:8].tolist()}: remove them or compute them again"
            )
    if train_Yvar is not None and not (train_Yvar >= 0).all():
        raise ValueError("train_Yvar must be variances, zero or positive")


def check_dense_rows(
    n: int, advice: str = "take a space-filling part of the lowest level"
) -> None:
    """Raises ValueError for more rows than dense algebra takes."""
    if n > MOST_ROWS:
        raise ValueError(
            f"at most {MOST_ROWS} rows fit in memory (dense Cholesky factors), got "
            f"{n}: {advice}"
        )


FEW_VALUES = 5
"""The spread of so few values is checked against that of the level below."""

MOST_WIDENING = 10.0


def level_moments(
    x: Float[Tensor, "n d"],
    y: Float[Tensor, " n"],
    level: Int[Tensor, " n"],
    n_levels: int,
) -> tuple[Float[Tensor, " levels"], Float[Tensor, " levels"]]:
    """Mean and unit of the values of each level.

    The unit is their standard deviation times t_(n - 1) / z, the quotient of the 97.5 %
    points of Student's and of the normal distribution: what n values say of the spread of
    further ones. It tends to the standard deviation; with 3 data it is 2.2 times larger.
    At most `FEW_VALUES` values may happen to be alike: where the values of the level
    below at their places (the nearest inputs) are more alike than all of its values,
    the unit is larger in that proportion, up to `MOST_WIDENING`.

    A level whose values do not vary (one datum, or constant ones) takes the unit of the
    next level below that has one, else of the next above, else 1. A level without data
    has mean zero in the same unit.
    """
    mean, unit = y.new_zeros(n_levels), y.new_full((n_levels,), torch.nan)
    for index in range(n_levels):
        values = y[level == index]
        if len(values):
            mean[index] = values.mean()
        if len(values) > 1 and values.std() > 1e-12 * values.abs().max():
            student = float(t.ppf(0.975, len(values) - 1) / norm.ppf(0.975))
            unit[index] = values.std() * student * _widening(x, y, level, index)
    known = (~unit.isnan()).nonzero().flatten().tolist()
    for index in range(n_levels):
        if index not in known:
            below = [k for k in known if k < index]
            donor = below[-1] if below else (known[0] if known else None)
            unit[index] = 1.0 if donor is None else unit[donor]
    return mean, unit


def _widening(x: Tensor, y: Tensor, level: Tensor, index: int) -> float:
    """How much more the level below varies in all than at the inputs of a level."""
    own, lower = level == index, level == index - 1
    if int(own.sum()) > FEW_VALUES or int(lower.sum()) <= int(own.sum()):
        return 1.0
    width = (x.amax(dim=0) - x.amin(dim=0)).clamp_min(1e-300)
    nearest = torch.cdist(x[own] / width, x[lower] / width).argmin(dim=1)
    there = float(y[lower][nearest].std())
    whole = float(y[lower].std())
    if whole <= there:
        return 1.0
    return min(whole / there, MOST_WIDENING) if there > 0 else MOST_WIDENING
