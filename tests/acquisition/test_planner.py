"""A low level is used if its scaled forces explain those of the high level."""

import numpy as np
import pytest

from mfal.acquisition import diagnose, low_level_first

NAMES = ("gfn2", "pbe")


def pairs(share, n_pairs=5, seed=0, n_atoms=6):
    """High-level forces of which the low level explains about this share."""
    rng = np.random.default_rng(seed)
    low = rng.normal(size=(n_pairs, n_atoms, 3))
    other = rng.normal(size=low.shape)
    high = 1.2 * (np.sqrt(share) * low + np.sqrt(1 - share) * other)
    return list(low), list(high)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_r2_is_that_of_fitting_the_scale_without_each_pair(share):
    low, high = pairs(share)
    residual = total = 0.0
    for k in range(len(low)):
        others = [i for i in range(len(low)) if i != k]
        x = np.concatenate([low[i].ravel() for i in others])
        y = np.concatenate([high[i].ravel() for i in others])
        (scale,), *_ = np.linalg.lstsq(x[:, None], y, rcond=None)
        residual += np.square(high[k] - scale * low[k]).sum()
        total += np.square(high[k]).sum()
    assert diagnose(low, high, NAMES).r2 == pytest.approx(1 - residual / total)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n_pairs", [3, 8])
def test_levels_that_agree_are_used_and_those_that_do_not_are_left(seed, n_pairs):
    assert diagnose(*pairs(0.85, n_pairs, seed), NAMES).useful
    assert not diagnose(*pairs(0.05, n_pairs, seed), NAMES).useful


def test_a_scaled_copy_explains_everything():
    low, _ = pairs(1.0)
    found = diagnose(low, [-0.7 * f for f in low], NAMES)
    assert found.r2 == pytest.approx(1)
    assert found.scale == pytest.approx(-0.7)


def test_the_verdict_says_what_was_found():
    low, high = pairs(0.9)
    found = diagnose(low, high, NAMES)
    assert found.n_pairs == 5
    assert found.sentence == (
        f"5 paired labels: gfn2 forces, scaled by {found.scale:.3f}, explain "
        f"{100 * found.r2:.0f} % of the pbe forces (leave-one-out): the low level is used."
    )
    left = diagnose(*pairs(0.0), NAMES)
    assert left.sentence.endswith("the low level is left.")


def test_forces_that_vanish_give_no_verdict_for_the_level():
    zero, some = [np.zeros((2, 3))] * 3, list(np.ones((3, 2, 3)))
    assert not diagnose(zero, some, NAMES).useful
    assert not diagnose(some, zero, NAMES).useful


@pytest.mark.parametrize(("n_low", "n_high"), [(2, 2), (3, 4), (0, 0)])
def test_too_few_or_unpaired_labels_are_refused(n_low, n_high):
    low, high = pairs(0.9, 5)
    with pytest.raises(
        ValueError, match=f"three paired labels, got {n_low} and {n_high}"
    ):
        diagnose(low[:n_low], high[:n_high], NAMES)


def test_the_low_level_comes_first_above_the_ratio():
    assert low_level_first(31.0, 30.0)
    assert not low_level_first(30.0, 30.0)
    assert not low_level_first(3.0, 30.0)
