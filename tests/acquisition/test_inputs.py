"""Over inputs a value is that of the dense Gaussian: exact, smooth, and per cost."""

import numpy as np
import pytest
import torch
from botorch.acquisition import AcquisitionFunction
from botorch.acquisition.cost_aware import (
    GenericCostAwareUtility,
    InverseCostWeightedUtility,
)
from botorch.fit import fit_gpytorch_mll
from botorch.models import AffineFidelityCostModel, SingleTaskGP
from botorch.models.transforms import Log, Standardize
from botorch.optim import optimize_acqf, optimize_acqf_discrete, optimize_acqf_mixed
from gaussian_pools import DensePool, mutual_information
from gpytorch.mlls import ExactMarginalLogLikelihood
from input_models import (
    KINDS,
    LABELS,
    LEVEL,
    PENDING,
    TARGETS,
    TOLERANCE,
    WEIGHTS,
    build,
    covariance,
    data,
    inputs,
    noise,
    with_labels,
)

from mfal.acquisition import (
    IntegratedVariance,
    LevelCostModel,
    ParameterInformation,
    TargetInformation,
    qIntegratedVariance,
    qParameterInformation,
    qTargetInformation,
)
from mfal.models import AutoregressiveGP

# MultiTaskGP gathers its tasks by a sparse product
pytestmark = pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")

MAKERS = {
    "parameters": qParameterInformation,
    "targets": lambda m, **k: qTargetInformation(m, TARGETS, TOLERANCE, **k),
    "variance": lambda m, **k: qIntegratedVariance(m, TARGETS, weights=WEIGHTS, **k),
}
SETS = torch.stack([LABELS[:2], LABELS[2:], LABELS[[0, 3]]])
BOUNDS = inputs([0, 0, 0], [1, 1, 1])
LEVELS = [{LEVEL: 0.0}, {LEVEL: 1.0}]


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(params=MAKERS)
def make(request):
    return MAKERS[request.param]


def added(X, X_pending=None):
    return X if X_pending is None else torch.cat([X_pending, X])


# --- the values


@pytest.mark.parametrize("pending", [None, PENDING], ids=["free", "pending"])
def test_integrated_variance_is_what_a_model_with_the_labels_has_less(kind, pending):
    """Brute force: the same model with the points among its data."""
    model = build(kind)
    before = model if pending is None else with_labels(model, kind, pending)
    found = qIntegratedVariance(model, TARGETS, weights=WEIGHTS, X_pending=pending)
    for labels, value in zip(SETS, found(SETS), strict=True):
        after = with_labels(model, kind, added(labels, pending))
        fall = np.diag(covariance(before, TARGETS) - covariance(after, TARGETS))
        assert value.item() == pytest.approx(fall @ WEIGHTS.numpy(), rel=1e-6)


@pytest.mark.parametrize("pending", [None, PENDING], ids=["free", "pending"])
def test_parameter_information_adds_up_label_by_label(kind, pending):
    """The chain rule, each label's variance from a model that knows those before it."""
    model = build(kind)
    found = qParameterInformation(model, X_pending=pending)
    for labels, value in zip(SETS, found(SETS), strict=True):
        total, known = 0.0, labels[:0] if pending is None else pending
        for label in labels.split(1):
            now = covariance(with_labels(model, kind, known), label).item()
            total += 0.5 * np.log1p(now / noise(kind, label).item())
            known = torch.cat([known, label])
        assert value.item() == pytest.approx(total, rel=1e-7)


@pytest.mark.parametrize("pending", [None, PENDING], ids=["free", "pending"])
def test_target_information_is_mutual_information_of_labels_and_targets(kind, pending):
    """Entropies of the dense Gaussian of a model that knows the pending labels."""
    model = build(kind)
    before = model if pending is None else with_labels(model, kind, pending)
    found = qTargetInformation(model, TARGETS, TOLERANCE, X_pending=pending)
    for labels, value in zip(SETS, found(SETS), strict=True):
        full, n = covariance(before, torch.cat([labels, TARGETS])), len(labels)
        expected = mutual_information(
            full[:n, :n] + np.diag(noise(kind, labels)),
            full[n:, n:] + np.diag(TOLERANCE.numpy()),
            full[:n, n:],
        )
        assert value.item() == pytest.approx(expected, rel=1e-6)


def test_values_are_those_of_the_pool_of_the_same_points(kind):
    """One theory: over inputs, and over a pool with the same joint posterior."""
    model = build(kind)
    points = torch.cat([LABELS, TARGETS, PENDING])
    pool = DensePool(covariance(model, points), noise(kind, points), [1] * len(points))
    targets = list(range(4, 8))
    pairs = [
        (qParameterInformation(model), ParameterInformation(pool)),
        (MAKERS["targets"](model), TargetInformation(pool, targets, TOLERANCE)),
        (MAKERS["variance"](model), IntegratedVariance(pool, targets, WEIGHTS)),
    ]
    for over_inputs, over_pool in pairs:
        over_inputs.set_X_pending(PENDING)
        over_pool.condition_on(8)
        over_pool.condition_on(9)
        for blocks in ([0], [1, 2], [0, 1, 2, 3]):
            value = over_inputs(LABELS[blocks]).item()
            assert value == pytest.approx(over_pool.value(blocks), rel=1e-7, abs=1e-12)


def test_the_covariance_of_the_fidelity_model_is_that_of_its_kernel():
    """Nothing of GPyTorch's prediction: K - K K^-1 K with the kernel itself."""
    model = build("fidelity")
    X = torch.cat([data()[0], LABELS])
    with torch.no_grad():
        k = model.covar_module(X).to_dense().numpy()
    n = len(X) - len(LABELS)
    known = k[:n, :n] + np.diag(noise("fidelity", X[:n]))
    latent = k[n:, n:] - k[n:, :n] @ np.linalg.solve(known, k[:n, n:])
    joint = qParameterInformation(model).joint(LABELS.unsqueeze(0))
    np.testing.assert_allclose(joint.covariance[0].detach(), latent, rtol=1e-7)
    np.testing.assert_allclose(joint.noise[0].detach(), noise("fidelity", LABELS))


def test_draws_of_the_hyperparameters_are_taken_as_the_gaussian_of_their_moments():
    model = AutoregressiveGP(*data())
    mll = ExactMarginalLogLikelihood(model.likelihood, model)
    fit_gpytorch_mll(mll, n_samples=3)
    points = torch.cat([LABELS, TARGETS])
    with torch.no_grad():
        noisy = model.posterior(points, observation_noise=True).distribution
    full = covariance(model, points)
    pool = DensePool(
        full, noisy.covariance_matrix.numpy().diagonal() - full.diagonal(), [1] * 8
    )
    of_pool = TargetInformation(pool, list(range(4, 8)), TOLERANCE)
    for blocks in ([0], [1, 2]):
        value = MAKERS["targets"](model)(LABELS[blocks]).item()
        assert value == pytest.approx(of_pool.value(blocks), rel=1e-4)


# --- laws


def test_more_labels_never_tell_less(kind, make):
    acquisition = make(build(kind))
    values = [acquisition(LABELS[:n]).item() for n in range(1, 5)]
    assert values == sorted(values) and values[0] > 0


def test_information_obeys_the_chain_rule(kind):
    for name in ("parameters", "targets", "variance"):
        acquisition = MAKERS[name](build(kind))
        together = acquisition(LABELS).item()
        first = acquisition(LABELS[:2]).item()
        acquisition.set_X_pending(LABELS[:2])
        rest = acquisition(LABELS[2:]).item()
        assert first + rest == pytest.approx(together, rel=1e-8)


def test_a_label_tells_less_of_the_parameters_once_others_are_known(kind):
    """Submodularity; of targets it does not hold in general."""
    model = build(kind)
    some = qParameterInformation(model, X_pending=PENDING[:1])
    more = qParameterInformation(model, X_pending=PENDING)
    alone = qParameterInformation(model)
    singles = LABELS.unsqueeze(1)
    assert (alone(singles) > some(singles)).all()
    assert (some(singles) > more(singles)).all()


def test_target_information_never_exceeds_that_about_the_parameters(kind):
    model = build(kind)
    about_all = qParameterInformation(model)(SETS)
    assert (MAKERS["targets"](model)(SETS) < about_all).all()
    tight = qTargetInformation(model, LABELS[:2], 1e-10)(LABELS[:2])
    assert tight.item() == pytest.approx(about_all[0].item(), rel=1e-4)


def test_what_is_known_within_the_tolerance_attracts_no_label(kind):
    wide = qTargetInformation(build(kind), TARGETS, 1e9)
    assert wide(SETS).abs().max() < 1e-7


def test_a_model_of_levels_that_have_nothing_in_common_learns_from_the_high_alone():
    model = build("task")
    task = model.covar_module.kernels[1]
    with torch.no_grad():  # B = W W^T with rows that are orthogonal
        task.raw_covar_factor.copy_(torch.tensor([[20.0, -40.0], [-40.0, 20.0]]))
    low, high = MAKERS["targets"](model.eval())(LABELS[:2].unsqueeze(1))
    assert abs(low) < 1e-9 and high > 0.05


# --- derivatives, batches, memory of what is pending


@pytest.mark.parametrize("pending", [None, PENDING], ids=["free", "pending"])
def test_the_gradient_is_that_of_finite_differences(kind, make, pending):
    acquisition = make(build(kind), X_pending=pending)
    X = LABELS[:3].clone().requires_grad_()
    (slope,) = torch.autograd.grad(acquisition(X).sum(), X)
    for i in range(3):
        for j in range(2):  # a level is not moved
            step = torch.zeros_like(X)
            step[i, j] = 1e-5
            with torch.no_grad():
                ends = acquisition(torch.stack([X + step, X - step]))
            expected = (ends[0] - ends[1]) / 2e-5
            assert slope[i, j].item() == pytest.approx(
                expected.item(), rel=1e-4, abs=1e-8
            )


def test_batches_of_any_shape_hold_the_values_of_their_sets(make, monkeypatch):
    acquisition = make(build("fidelity"))
    plain = torch.stack([acquisition(s).squeeze() for s in SETS])
    batch = SETS.expand(4, 3, 2, 3)
    assert isinstance(acquisition, AcquisitionFunction)
    torch.testing.assert_close(acquisition(batch), plain.expand(4, 3))
    monkeypatch.setattr("mfal.acquisition.joint._POINTS", 3)
    torch.testing.assert_close(acquisition(batch), plain.expand(4, 3))


def test_pending_labels_take_the_place_of_those_before(make):
    acquisition = make(build("fidelity"))
    free = acquisition(SETS)
    acquisition.set_X_pending(PENDING)
    assert (acquisition(SETS) - free).abs().min() > 1e-6
    acquisition.set_X_pending(None)
    torch.testing.assert_close(acquisition(SETS), free, rtol=0, atol=0)


def test_the_unit_of_the_outcome_is_that_of_the_data(make):
    """Standardised or not: information has no unit, variance has that of y squared."""
    X, Y = data()
    plain = build("fidelity", X, (Y - Y.mean()) / Y.std())
    scaled = build("fidelity", X, Y, outcome_transform=Standardize(m=1))
    square = Y.var()
    assert torch.allclose(
        qParameterInformation(scaled)(SETS), qParameterInformation(plain)(SETS)
    )
    of_targets = qTargetInformation(scaled, TARGETS, TOLERANCE * square)(SETS)
    assert torch.allclose(of_targets, MAKERS["targets"](plain)(SETS))
    variance = MAKERS["variance"](scaled)(SETS)
    assert torch.allclose(variance, MAKERS["variance"](plain)(SETS) * square)


# --- per cost


def test_a_value_is_divided_by_what_the_labels_cost_together(make):
    model = build("fidelity")
    free = make(model)(SETS)
    costs = torch.tensor([2.0, 9.0], dtype=torch.float64)
    paid = costs[SETS[..., LEVEL].long()].sum(-1)
    affine = AffineFidelityCostModel({LEVEL: 7.0}, fixed_cost=2.0)
    for way in (
        {"cost_model": affine},
        {"cost_model": LevelCostModel([2.0, 9.0])},
        {"cost_model": lambda X: 2 + 7 * X[..., LEVEL]},
        {"cost_model": lambda X: 2 + 7 * X[..., LEVEL:]},
        {"cost_aware_utility": InverseCostWeightedUtility(affine)},
        {
            "cost_aware_utility": GenericCostAwareUtility(
                lambda X, deltas: deltas / (2 + 7 * X[..., LEVEL]).sum(-1)
            )
        },
    ):
        torch.testing.assert_close(make(model, **way)(SETS), free / paid)


def test_the_level_that_is_chosen_follows_its_price(kind):
    """Maximised over place and level: a cheap low level is bought, a dear one is not."""
    model = build(kind)
    chosen = []
    torch.manual_seed(0)  # of the starts of the search
    for price in (1.0, 1000.0):
        acquisition = qTargetInformation(
            model, TARGETS, 0.01, cost_model=LevelCostModel([price, 1000.0])
        )
        label, value = optimize_acqf_mixed(
            acquisition, BOUNDS, 1, 8, LEVELS, raw_samples=128
        )
        chosen.append(label[0, LEVEL].item())
        grid = torch.cartesian_prod(*[torch.linspace(0, 1, 9).double()] * 2)
        best = max(
            acquisition(
                torch.cat([grid, torch.full_like(grid[:, :1], level)], 1)[:, None]
            )
            .max()
            .item()
            for level in (0.0, 1.0)
        )
        assert value.item() >= best - 1e-9
    assert chosen == [0.0, 1.0]


def test_discrete_optimisation_picks_the_greedy_batch(make):
    acquisition = make(build("fidelity"))
    found, values = optimize_acqf_discrete(acquisition, q=3, choices=LABELS)
    left, taken = LABELS, LABELS[:0]
    for label, value in zip(found, values, strict=True):
        acquisition.set_X_pending(taken if len(taken) else None)
        now = acquisition(left.unsqueeze(1))
        best = int(now.argmax())
        assert torch.equal(left[best], label)
        assert value.item() == pytest.approx(now[best].item(), rel=1e-10)
        taken = torch.cat([taken, label[None]])
        left = torch.cat([left[:best], left[best + 1 :]])


def test_a_joint_batch_is_no_worse_than_a_sequential_one():
    acquisition = MAKERS["targets"](build("fidelity"))
    at_high = {"fixed_features": {LEVEL: 1.0}, "num_restarts": 2, "raw_samples": 16}
    one_by_one, _ = optimize_acqf(acquisition, BOUNDS, 2, sequential=True, **at_high)
    start = one_by_one.unsqueeze(0)
    _, value = optimize_acqf(
        acquisition,
        BOUNDS,
        2,
        **{**at_high, "num_restarts": 1},
        batch_initial_conditions=start,
    )
    assert acquisition.X_pending is None
    assert value.item() >= acquisition(one_by_one).item() - 1e-9


# --- what makes no sense


def test_what_makes_no_sense_is_refused():
    model, none = build("fidelity"), TARGETS[:0]
    with pytest.raises(ValueError, match="needs targets"):
        qTargetInformation(model, none, 0.1)
    with pytest.raises(ValueError, match="positive variance"):
        qTargetInformation(model, TARGETS, 0.0)
    with pytest.raises(ValueError, match="0 targets"):
        qIntegratedVariance(model, none)
    with pytest.raises(ValueError, match="weight >= 0 each"):
        qIntegratedVariance(model, TARGETS, weights=-WEIGHTS)
    with pytest.raises(ValueError, match="not both"):
        utility = InverseCostWeightedUtility(AffineFidelityCostModel())
        qParameterInformation(model, cost_model=lambda X: X, cost_aware_utility=utility)
    free = qParameterInformation(model, cost_model=lambda X: 0 * X[..., 0])
    with pytest.raises(ValueError, match=r"costs must be positive.*\(1, 4\) labels"):
        free(LABELS)


def test_a_posterior_that_is_no_single_gaussian_is_refused():
    X, Y = data()
    bent = build("fidelity", X, Y - Y.min() + 1, outcome_transform=Log())
    with pytest.raises(ValueError, match="must be a Gaussian with one output"):
        qParameterInformation(bent)(LABELS)
    with pytest.raises(ValueError, match="2 outputs"):
        qParameterInformation(build("task"))(LABELS[:, :LEVEL])
    batched = SingleTaskGP(X.expand(2, *X.shape), Y.expand(2, *Y.shape))
    with pytest.raises(ValueError, match="a batched model"):
        qParameterInformation(batched)


def test_a_model_without_noise_is_refused():
    class Noiseless(SingleTaskGP):
        def posterior(self, X, **ignored):
            return super().posterior(X)

    with pytest.raises(ValueError, match="carries no noise"):
        qParameterInformation(Noiseless(*data()))(LABELS)
