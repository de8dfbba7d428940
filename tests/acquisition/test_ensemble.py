"""The spread of an ensemble is a Gaussian; of one row it is the textbook's formula."""

import math

import numpy as np
import pytest
import torch
from gaussian_pools import DensePool

from mfal.acquisition import EnsembleInformation, ParameterInformation

SIZES = (1, 4, 2, 7, 1)


def ensemble(n_members=4, seed=0):
    rng = np.random.default_rng(seed)
    predictions = [torch.tensor(rng.normal(size=(n_members, n))) for n in SIZES]
    noise = [torch.tensor(rng.uniform(0.1, 0.6, size=n)) for n in SIZES]
    return predictions, noise


def test_of_one_row_it_is_half_the_log_of_one_plus_the_ratio_of_variances():
    predictions, noise = ensemble()
    found = EnsembleInformation(predictions, noise)
    for block in (0, 4):
        spread = float(predictions[block].var(0, unbiased=True)[0])
        expected = 0.5 * math.log(1 + spread / float(noise[block][0]))
        assert found.value([block]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("n_members", [2, 5, 30])
def test_it_is_the_information_of_the_gaussian_of_the_members(n_members):
    """Few members or many, against determinants of rows."""
    predictions, noise = ensemble(n_members)
    covariance = np.cov(torch.cat(predictions, dim=1).numpy(), rowvar=False)
    pool = DensePool(covariance, torch.cat(noise).numpy(), SIZES)
    ours, other = EnsembleInformation(predictions, noise), ParameterInformation(pool)
    for pick in (None, 3, 1):
        if pick is not None:
            ours.condition_on(pick)
            other.condition_on(pick)
        for blocks in ([0], [1, 2], [4, 2, 0]):
            assert ours.value(blocks) == pytest.approx(other.value(blocks), rel=1e-8)


def test_members_that_agree_leave_nothing_to_learn():
    predictions, noise = ensemble()
    same = [p[:1].expand(3, -1) for p in predictions]
    assert EnsembleInformation(same, noise).values(range(5)).abs().max() < 1e-12


def test_what_is_no_ensemble_is_refused():
    predictions, noise = ensemble()
    with pytest.raises(ValueError, match=r"two or more members .* got \[1\]"):
        EnsembleInformation([p[:1] for p in predictions], noise)
    with pytest.raises(ValueError, match=r"got \[3, 4\]"):
        EnsembleInformation([predictions[0][:3], *predictions[1:]], noise)
    with pytest.raises(ValueError, match="noise of positive variance"):
        EnsembleInformation(predictions, [0 * n for n in noise])
    with pytest.raises(ValueError, match="4 labels for predictions of 5"):
        EnsembleInformation(predictions, noise[:4])
