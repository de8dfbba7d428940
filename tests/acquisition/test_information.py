"""An acquisition value is a difference of entropies of the joint Gaussian."""

import numpy as np
import pytest
import torch
from gaussian_pools import (
    DensePool,
    dense,
    mutual_information,
    random_pool,
    water_model,
    water_pool,
)
from scipy.stats import multivariate_normal

from mfal.acquisition import (
    IntegratedVariance,
    MaximumVariance,
    ParameterInformation,
    Random,
    TargetInformation,
)

SIZES = (4, 1, 3, 4, 3, 2)
TARGETS = (4, 5)
TOLERANCE = torch.tensor([0.3, 0.05, 0.2, 0.4, 0.1], dtype=torch.float64)
WEIGHTS = torch.tensor([1.0, 0.0, 5.0, 0.3, 2.0], dtype=torch.float64)
SETS = ([0], [1], [0, 2], [3, 1, 2])
PICKS = ([], [3], [1, 3])


@pytest.fixture(params=range(2))
def pool(request):
    return random_pool(SIZES, seed=request.param)


def labels(pool, blocks):
    """Covariance of the labels of some blocks, and of these with all latent values."""
    rows = pool.rows(blocks)
    noise = np.diag(pool.variance[rows])
    return pool.full[np.ix_(rows, rows)] + noise, pool.full[rows]


def parameter_information(pool, blocks):
    """I(y; f) with f all latent values of the pool."""
    return mutual_information(
        labels(pool, blocks)[0], pool.full, labels(pool, blocks)[1]
    )


def target_information(pool, blocks):
    """I(y; f_T + tolerance)."""
    rows = pool.rows(TARGETS)
    own, cross = labels(pool, blocks)
    known = pool.full[np.ix_(rows, rows)] + np.diag(TOLERANCE)
    return mutual_information(own, known, cross[:, rows])


def maximum_variance(pool, blocks):
    return sum(np.diag(pool.full)[pool.rows([b])].mean() for b in blocks)


def integrated_variance(pool, blocks):
    """The variance of the targets, before less after."""
    rows = pool.rows(TARGETS)
    fall = np.diag(pool.full)[rows] - np.diag(pool.given(blocks).full)[rows]
    return fall @ WEIGHTS.numpy()


KINDS = {
    "parameters": (ParameterInformation, parameter_information),
    "targets": (lambda p: TargetInformation(p, TARGETS, TOLERANCE), target_information),
    "variance": (MaximumVariance, maximum_variance),
    "integrated": (
        lambda p: IntegratedVariance(p, TARGETS, WEIGHTS),
        integrated_variance,
    ),
}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


@pytest.mark.parametrize("blocks", SETS)
@pytest.mark.parametrize("picks", PICKS)
def test_a_value_is_that_of_the_dense_gaussian_given_the_picks(
    pool, kind, blocks, picks
):
    make, naive = kind
    acquisition = make(pool)
    for pick in picks:
        acquisition.condition_on(pick)
    expected = naive(pool.given(picks) if picks else pool, blocks)
    assert acquisition.value(blocks) == pytest.approx(expected, rel=1e-9, abs=1e-10)
    assert acquisition.picked == tuple(picks)


@pytest.mark.parametrize("name", ["parameters", "targets", "integrated"])
def test_information_obeys_the_chain_rule(pool, name):
    """What labels tell together is what they tell one after the other."""
    acquisition = KINDS[name][0](pool)
    together, one_by_one = acquisition.value([0, 3, 2]), 0.0
    for block in (0, 3, 2):
        one_by_one += acquisition.value([block])
        acquisition.condition_on(block)
    assert one_by_one == pytest.approx(together, rel=1e-10)


@pytest.mark.parametrize("name", ["parameters", "variance"])
def test_a_label_known_already_tells_less(pool, name):
    acquisition = KINDS[name][0](pool)
    before = [acquisition.value([b]) for b in range(len(SIZES))]
    acquisition.condition_on(2)
    after = [acquisition.value([b]) for b in range(len(SIZES))]
    assert all(a < b for a, b in zip(after, before, strict=True))


@pytest.mark.parametrize("block", [0, 1, 2], ids=["largest", "one row", "smaller"])
def test_a_target_without_tolerance_makes_its_own_label_as_good_as_all_it_says(
    pool, block
):
    """T = the candidate: as its tolerance goes to zero, what is left of its label is
    its noise, and the information that about the parameters, from below."""
    about_all = ParameterInformation(pool).value([block])
    shares = []
    for tolerance in (1e-2, 1e-4, 1e-10):
        variance = torch.full((SIZES[block],), tolerance, dtype=torch.float64)
        shares.append(TargetInformation(pool, [block], variance).value([block]))
    assert shares == sorted(shares)
    assert shares[-1] < about_all == pytest.approx(shares[-1], rel=1e-6)


def test_information_is_the_difference_of_entropies_of_sampled_gaussians(pool):
    """Entropy as the mean of -log density over samples, not by a determinant."""
    own, cross = labels(pool, [0, 2])
    rows = pool.rows(TARGETS)
    known = pool.full[np.ix_(rows, rows)] + np.diag(TOLERANCE)
    joint = np.block([[own, cross[:, rows]], [cross[:, rows].T, known]])
    n = len(own)
    samples = np.random.default_rng(0).multivariate_normal(
        np.zeros(len(joint)), joint, size=200_000, method="cholesky"
    )
    parts = (samples[:, :n], own), (samples[:, n:], known), (samples, joint)
    one, other, both = (
        -multivariate_normal(cov=c, allow_singular=False).logpdf(x) for x, c in parts
    )
    sampled = one + other - both
    error = sampled.std() / len(sampled) ** 0.5
    found = TargetInformation(pool, TARGETS, TOLERANCE).value([0, 2])
    assert found == pytest.approx(sampled.mean(), abs=4 * error)
    assert error < 0.005


@pytest.mark.parametrize("picks", PICKS)
def test_determinants_of_few_targets_say_the_same_as_those_of_labels(pool, picks):
    """A large block that has nothing to do with the rest makes the targets the fewer."""
    sizes = [s.stop - s.start for s in pool.slices]
    n = len(pool.full)
    full = np.eye(n + 9)
    full[:n, :n] = pool.full
    larger = DensePool(full, np.append(pool.variance, np.ones(9)), [*sizes, 9])
    of_labels = TargetInformation(pool, TARGETS, TOLERANCE)
    of_targets = TargetInformation(larger, TARGETS, TOLERANCE)
    assert type(of_labels._side) is not type(of_targets._side)
    for pick in picks:
        of_labels.condition_on(pick)
        of_targets.condition_on(pick)
    for blocks in SETS:
        expected = of_labels.value(blocks)
        assert of_targets.value(blocks) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    torch.testing.assert_close(
        of_targets.values(range(4)), of_labels.values(range(4)), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("n_targets", [1, 2])
@pytest.mark.parametrize("picks", PICKS)
def test_labels_at_hand_are_known_before_anything_is_counted(pool, n_targets, picks):
    targets, n_rows = TARGETS[:n_targets], sum(SIZES[t] for t in TARGETS[:n_targets])
    known = pool.given([2])
    pairs = [
        (
            TargetInformation(pool, targets, TOLERANCE[:n_rows], at_hand=[2]),
            TargetInformation(known, targets, TOLERANCE[:n_rows]),
        ),
        (
            IntegratedVariance(pool, targets, WEIGHTS[:n_rows], at_hand=[2]),
            IntegratedVariance(known, targets, WEIGHTS[:n_rows]),
        ),
    ]
    for at_hand, refitted in pairs:
        for pick in picks:
            at_hand.condition_on(pick)
            refitted.condition_on(pick)
        at_hand.keep(len(picks))
        found, expected = (a.values([0, 1, 3]) for a in (at_hand, refitted))
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-11)
        assert at_hand.picked == tuple(picks)


def test_what_is_known_within_the_tolerance_attracts_no_label(pool):
    wide = 1e9 * TOLERANCE
    acquisition = TargetInformation(pool, TARGETS, wide)
    assert all(abs(acquisition.value([b])) < 1e-7 for b in range(4))


def test_target_information_never_exceeds_that_about_the_parameters(pool):
    about_all = ParameterInformation(pool)
    about_targets = TargetInformation(pool, TARGETS, TOLERANCE)
    for blocks in SETS:
        assert 0 < about_targets.value(blocks) < about_all.value(blocks)


@pytest.mark.parametrize(
    ("targets", "tolerance", "rule"),
    [
        ([], TOLERANCE, "needs targets"),
        (TARGETS, TOLERANCE[:4], r"each of the 5 rows of the targets, got 4"),
        (TARGETS, 0 * TOLERANCE, "positive variance"),
    ],
)
def test_targets_that_make_no_sense_are_refused(pool, targets, tolerance, rule):
    with pytest.raises(ValueError, match=rule):
        TargetInformation(pool, targets, tolerance)


def test_without_weights_the_variances_of_all_target_rows_are_summed(pool):
    ones = torch.ones(len(WEIGHTS), dtype=torch.float64)
    plain = IntegratedVariance(pool, TARGETS)
    assert plain.value([0, 2]) == IntegratedVariance(pool, TARGETS, ones).value([0, 2])


@pytest.mark.parametrize(
    ("targets", "weights"),
    [([], None), (TARGETS, WEIGHTS[:4]), (TARGETS, -WEIGHTS)],
)
def test_weights_that_make_no_sense_are_refused(pool, targets, weights):
    with pytest.raises(ValueError, match="needs targets with one weight >= 0 each"):
        IntegratedVariance(pool, targets, weights)


# --- with a model of two levels


def target_values(model, asked, targets):
    pool = water_pool(model, [*asked, *targets])
    where = range(len(asked), len(asked) + len(targets))
    n_rows = sum(pool.slices[b].stop - pool.slices[b].start for b in where)
    tolerance = torch.full((n_rows,), 1e-3, dtype=torch.float64)
    acquisition = TargetInformation(pool, list(where), tolerance)
    return [acquisition.value([b]) for b in range(len(asked))]


TARGET_WATER = [(8, "high"), (9, "high")]


def test_without_correlation_a_low_label_tells_nothing_of_the_high_level():
    model = water_model(range(4), [0, 1], rho=0.0)
    low, of_target, high = target_values(
        model, [(6, "low"), (8, "low"), (6, "high")], TARGET_WATER
    )
    assert abs(low) < 1e-9 and abs(of_target) < 1e-9
    assert high > 0.1


def test_with_the_low_level_of_the_targets_at_hand_low_labels_tell_next_to_nothing():
    """Every high label is paired: only the discrepancy is left to learn."""
    asked = [(6, "low"), (6, "high")]
    at_hand = water_model([0, 1, 2, 8, 9], [0, 1])
    low, high = target_values(at_hand, asked, TARGET_WATER)
    assert low < 1e-4 * high
    low, high = target_values(water_model([0, 1, 2], [0, 1]), asked, TARGET_WATER)
    assert low > 0.05 * high


def test_the_low_labels_of_the_targets_are_at_hand_whether_bought_or_named():
    """Blocks `at_hand` say the same as a model that has those labels."""
    asked = [(6, "low"), (6, "high"), (5, "high")]
    low_of_targets = [(i, "low") for i, _ in TARGET_WATER]
    pool = water_pool(
        water_model([0, 1, 2], [0, 1]), [*asked, *TARGET_WATER, *low_of_targets]
    )
    tolerance = torch.full((8,), 1e-3, dtype=torch.float64)
    named = TargetInformation(pool, [3, 4], tolerance, at_hand=[5, 6])
    standalone = TargetInformation(pool, [3, 4], tolerance)
    bought = target_values(
        water_model([0, 1, 2, 8, 9], [0, 1], seed=5, values=20.0), asked, TARGET_WATER
    )
    low, high, _ = named.values(range(3)).tolist()
    assert named.values(range(3)).tolist() == pytest.approx(bought, rel=1e-6, abs=1e-9)
    assert low < 1e-4 * high
    assert low < 1e-3 * standalone.value([0])


def test_the_low_label_of_a_target_itself_is_the_best_low_label():
    of_target, other = target_values(
        water_model([0, 1, 2], [0, 1]), [(8, "low"), (6, "low")], TARGET_WATER
    )
    assert of_target > 2 * other


@pytest.mark.parametrize(
    "pick", [(6, "low"), (6, "high"), (7, "high"), (2, "high")], ids=str
)
def test_conditioning_on_a_pick_is_conditioning_the_model_on_any_values(pick):
    """A structure new to the data, one that is pending at both levels, a paired one."""
    low, high = [0, 1, 2, 6], [0, 1]
    if pick == (6, "low"):
        low.remove(6)
    model = water_model(low, high)
    asked = [(6, "high"), (5, "low"), (5, "high"), (2, "high"), (7, "high")]
    wanted = [a for a in asked if a != pick]
    pool = water_pool(model, [*wanted, pick])
    more = ([*low, pick[0]], high) if pick[1] == "low" else (low, [*high, pick[0]])
    after = [water_model(*more, seed=s, values=v) for s, v in ((1, 1.0), (2, 30.0))]
    makers = (
        ParameterInformation,
        MaximumVariance,
        lambda p: IntegratedVariance(p, [0]),
    )
    for make in makers:
        acquisition = make(pool)
        acquisition.condition_on(len(wanted))
        values = [acquisition.value([b]) for b in range(len(wanted))]
        for bought in after:
            anew = make(water_pool(bought, wanted))
            expected = [anew.value([b]) for b in range(len(wanted))]
            np.testing.assert_allclose(values, expected, rtol=1e-6)


def test_values_of_a_model_are_those_of_its_dense_gaussian():
    pool = water_pool(
        water_model([0, 1, 2], [0, 1]), [(5, "low"), (5, "high"), (2, "high")]
    )
    for make in (ParameterInformation, MaximumVariance):
        for blocks in ([0], [1, 2], [0, 1]):
            expected = make(dense(pool)).value(blocks)
            assert make(pool).value(blocks) == pytest.approx(expected, rel=1e-9)


def positions(*sets):
    return torch.tensor(sets, dtype=torch.float64).unsqueeze(-1)


# --- the baseline


def test_random_values_are_those_of_the_seed_and_nothing_else(pool):
    everything = positions(*([i] for i in range(len(SIZES))))
    first, again, other = Random(pool, 1), Random(pool, 1), Random(pool, 2)
    again.condition_on(3)
    assert torch.equal(first(everything), again(everything))
    assert not torch.equal(first(everything), other(everything))
    assert first.value([0, 1]) == pytest.approx(first.value([0]) + first.value([1]))
    first.set_X_pending(positions([2, 4]).squeeze(0))
    first.set_X_pending(None)
    assert torch.equal(first(everything), again(everything))
