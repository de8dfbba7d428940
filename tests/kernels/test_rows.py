"""Matrices of rows assembled from Gram products are those of the composed kernels."""

import jaxtyping
import pytest
import torch
from gpytorch.kernels import ScaleKernel

from mfal.kernels import (
    AutoregressiveKernel,
    Coefficients,
    DerivativeMatern52Kernel,
    DerivativeRBFKernel,
    GramProducts,
    ReferenceEnergyKernel,
    Rows,
    SymmetrizedKernel,
    pack_observations,
)
from mfal.models.hyperparameters import REFERENCE_WIDTH, Hyperparameters, coefficients

D = 4
ORDERS = {
    "one": torch.arange(D).unsqueeze(0),
    "cycle": torch.tensor([[0, 1, 2, 3], [1, 2, 0, 3], [2, 0, 1, 3]]),
}
KINDS = {"rbf": DerivativeRBFKernel, "matern52": DerivativeMatern52Kernel}
# rows of each environment: an energy, a force, or both in one row; its level
LEFT = [("EFF", 0), ("FF", 2), ("E", 1), ("EFB", 2), ("B", 0), ("EFF", 1)]
RIGHT = [("FF", 1), ("EF", 0), ("BEF", 2), ("E", 0)]
SHAPES = {
    "mixed": (LEFT, RIGHT),
    "alike": ([("EFF", k % 3) for k in range(5)], [("BF", k % 3) for k in range(4)]),
    "forces": ([("FF", k % 3) for k in range(4)], [("FFF", k % 3) for k in range(3)]),
}


def rows_of(environments, generator):
    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    kinds = "".join(kind for kind, _ in environments)
    direction, n_env = normal(len(kinds), D), len(environments)
    direction[[k == "E" for k in kinds]] = 0.0
    return Rows(
        weight=torch.tensor([0.0 if k == "F" else 1.0 for k in kinds]).double()
        * (1 + normal(len(kinds)).abs()),
        direction=direction,
        environment=torch.repeat_interleave(
            torch.arange(n_env), torch.tensor([len(k) for k, _ in environments])
        ),
        descriptor=normal(n_env, D),
        level=torch.tensor([level for _, level in environments]),
        counts=torch.randint(1, 4, (n_env, 2), generator=generator).double(),
    )


@pytest.fixture(params=SHAPES)
def shapes(request):
    return SHAPES[request.param]


@pytest.fixture
def left(shapes, generator):
    return rows_of(shapes[0], generator)


@pytest.fixture
def right(shapes, generator):
    return rows_of(shapes[1], generator)


@pytest.fixture
def mixed(generator):
    return rows_of(LEFT, generator)


@pytest.fixture(params=ORDERS)
def orders(request):
    return ORDERS[request.param]


@pytest.fixture(params=[False, True], ids=["remade", "kept"])
def keep(request):
    return request.param


@pytest.fixture
def hyperparameters():
    return Hyperparameters(
        kernels=("rbf", "matern52", "rbf"),
        lengthscale=torch.tensor([1.5, 0.9, 2.1], dtype=torch.float64),
        scale=torch.tensor([1.1, 0.6, 0.4], dtype=torch.float64),
        rho=torch.tensor([0.7, -1.3], dtype=torch.float64),
        noise=torch.full((3, 3), 0.1, dtype=torch.float64),
    )


def dense(h, orders, left, right):
    """The same through GPyTorch: kernels composed on packed rows."""
    parts = []
    for name, lengthscale, scale in zip(h.kernels, h.lengthscale, h.scale, strict=True):
        kernel = KINDS[name]().double()
        kernel.lengthscale = lengthscale
        part = ScaleKernel(SymmetrizedKernel(kernel, orders)).double()
        part.outputscale = scale**2
        parts.append(part)
    levels = AutoregressiveKernel(parts).double()
    levels.rho = h.rho

    def packed(rows):
        e = rows.environment
        level = rows.level[e, None].double()
        b = rows.weight.unsqueeze(-1)
        x = pack_observations(b, rows.direction, rows.descriptor[e])
        return torch.cat([x, level], dim=1), torch.cat(
            [b, rows.counts[e], level], dim=1
        )

    (x1, n1), (x2, n2) = packed(left), packed(right)
    reference = ReferenceEnergyKernel(REFERENCE_WIDTH)
    return (levels(x1, x2).to_dense() + reference(n1, n2).to_dense()).detach()


def blocks_below(rows):
    """Which entries stand in the blocks on and below the diagonal."""
    return rows.environment[:, None] >= rows.environment


def random_coefficients(products, generator):
    return Coefficients(
        *(
            torch.randn(products.squared.shape, generator=generator).double()
            for _ in range(3)
        )
    )


def test_squared_distances_are_those_of_every_permutation(left, right, orders):
    products = GramProducts(left, right, orders=orders)
    expected = [
        torch.cdist(left.descriptor, right.descriptor[:, o]).square() for o in orders
    ]
    torch.testing.assert_close(products.squared, torch.stack(expected))
    assert products.n_permutations == len(orders)


def test_rectangular_matrix_is_that_of_the_composed_kernels(
    hyperparameters, left, right, orders, keep
):
    products = GramProducts(left, right, orders=orders, keep=keep)
    c = coefficients(hyperparameters, products.squared, left, right)
    expected = dense(hyperparameters, orders, left, right)
    torch.testing.assert_close(products.assemble(c), expected)


def test_symmetric_matrix_is_that_of_the_composed_kernels_below_the_diagonal(
    hyperparameters, left, orders, keep
):
    products = GramProducts(left, orders=orders, keep=keep)
    c = coefficients(hyperparameters, products.squared, left, left)
    expected = dense(hyperparameters, orders, left, left) * blocks_below(left)
    torch.testing.assert_close(products.assemble(c), expected)


def test_memory_handed_in_is_overwritten_below_and_left_alone_above(
    hyperparameters, left
):
    products = GramProducts(left)
    c = coefficients(hyperparameters, products.squared, left, left)
    out = torch.full((len(left), len(left)), 7.0, dtype=torch.float64)
    assert products.assemble(c, out) is out
    below = blocks_below(left)
    torch.testing.assert_close(out[below], products.assemble(c)[below])
    assert (out[~below] == 7.0).all()


@pytest.mark.parametrize("shape", ["symmetric", "rectangular"])
def test_contract_is_the_autograd_slope_of_the_assembled_matrix(
    left, right, orders, keep, shape, generator
):
    """d/dC of sum(G * K), K assembled from the formula of the module."""
    other = right if shape == "rectangular" else None
    products = GramProducts(left, other, orders=orders, keep=keep)
    right = left if other is None else other
    c = random_coefficients(products, generator)
    if other is None:  # the upper triangle mirrors the lower one
        c = Coefficients(*(part.tril() for part in c))
    leaves = Coefficients(*(part.clone().requires_grad_() for part in c))
    matrix = formula(leaves, orders, left, right)
    count = torch.ones(matrix.shape).double()
    if other is None:
        below = left.environment[:, None] > left.environment
        count = blocks_below(left).double() + below  # those below stand for two
    torch.testing.assert_close(products.assemble(c), (matrix * count.sign()).detach())
    g = torch.randn(matrix.shape, generator=generator).double()
    expected = torch.autograd.grad((g * count * matrix).sum(), leaves)
    for computed, slope in zip(products.contract(g), expected, strict=True):
        torch.testing.assert_close(computed, slope)


def formula(c, orders, left, right):
    """sum_P C0 b b' + 2 C1 (A b' - b A') - 4 C2 A A' - 2 C1 V, every factor dense."""
    e, e2 = left.environment, right.environment
    b, b2 = left.weight[:, None], right.weight
    total = torch.zeros(len(left), len(right)).double()
    for p, order in enumerate(orders):
        c0, c1, c2 = (part[p][e][:, e2] for part in c)
        v, w = left.direction, right.direction[:, order]
        apart = left.descriptor[e][:, None] - right.descriptor[e2][:, order]
        a = torch.einsum("id,ijd->ij", v, apart)
        a2 = torch.einsum("jd,ijd->ij", w, apart)
        total = total + c0 * b * b2 + 2 * c1 * (a * b2 - b * a2)
        total = total - 4 * c2 * a * a2 - 2 * c1 * (v @ w.T)
    return total


def test_slope_of_any_loss_of_the_symmetric_matrix_is_that_of_the_whole_matrix(
    left, orders, generator
):
    """A symmetric slope contracts to the slope of sum(G * K) over the whole of K."""
    products = GramProducts(left, orders=orders)
    whole = GramProducts(left, left, orders=orders)
    g = torch.randn(len(left), len(left), generator=generator).double()
    g = g + g.T

    def folded(part):  # entries above the diagonal belong to the ones below it
        inverse = [
            int((orders[:, o] == torch.arange(D)).all(1).nonzero()) for o in orders
        ]
        return (part + part[inverse].mT).tril(-1) + part.tril().triu()

    for mine, all_of_it in zip(products.contract(g), whole.contract(g), strict=True):
        torch.testing.assert_close(mine, folded(all_of_it))


def test_memory_kept_stays_below_its_estimate(left):
    kept = GramProducts(left, orders=ORDERS["cycle"], keep=True)._kept
    taken = sum(slope.numel() * slope.element_size() for slope in kept)
    assert 0 < taken <= GramProducts.bytes_kept(len(left), 3)


def test_chosen_environments_keep_their_rows(mixed):
    picked = mixed.environments([4, 1])
    assert picked.starts == [0, 1, 3]
    rows = [mixed.starts[4], mixed.starts[1], mixed.starts[1] + 1]
    torch.testing.assert_close(picked.weight, mixed.weight[rows])
    torch.testing.assert_close(picked.direction, mixed.direction[rows])
    torch.testing.assert_close(picked.descriptor, mixed.descriptor[[4, 1]])
    assert picked.level.tolist() == [0, 2]
    torch.testing.assert_close(picked.counts, mixed.counts[[4, 1]])


def test_stacked_rows_follow_each_other(mixed, generator):
    right = rows_of(RIGHT, generator)
    both = Rows.stack([mixed, right])
    assert len(both) == len(mixed) + len(right)
    assert both.starts[: len(LEFT) + 1] == mixed.starts
    again = both.environments(range(len(LEFT), len(LEFT) + len(RIGHT)))
    for name in ("weight", "direction", "environment", "descriptor", "level", "counts"):
        torch.testing.assert_close(getattr(again, name), getattr(right, name))


def test_rows_at_another_level_differ_in_the_level_only(mixed):
    moved = mixed.at_level(2)
    assert (moved.level == 2).all()
    for name in ("weight", "direction", "environment", "descriptor", "counts"):
        assert getattr(moved, name) is getattr(mixed, name)


def fields(rows, **changed):
    names = ("weight", "direction", "environment", "descriptor", "level", "counts")
    return {name: getattr(rows, name) for name in names} | changed


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda r: {"weight": r.weight[1:]}, "rows do not fit together"),
        (lambda r: {"level": r.level[1:]}, "rows do not fit together"),
        (lambda r: {"counts": r.counts[1:]}, "rows do not fit together"),
        (lambda r: {"descriptor": r.descriptor[:, 1:]}, "descriptors have 3 entries"),
        (lambda r: {"environment": r.environment.flip(0)}, "sorted by environment"),
        (lambda r: {"environment": 0 * r.environment}, "a row for each of them"),
    ],
)
def test_rows_that_do_not_fit_are_refused(monkeypatch, mixed, change, rule):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as users run
    with pytest.raises(ValueError, match=rule):
        Rows(**fields(mixed, **change(mixed)))


def test_nothing_to_stack_is_refused():
    with pytest.raises(ValueError, match="no rows to stack"):
        Rows.stack([])
