"""Kernels are made symmetric under permutations; species counts carry the reference."""

import laws
import pytest
import textbook
import torch

from mfal.kernels import (
    DerivativeMatern52Kernel,
    DerivativeRBFKernel,
    ReferenceEnergyKernel,
    SymmetrizedKernel,
    pack_observations,
)
from mfal.kernels.composition import permute_observations

# the cyclic group of three elements on the first three of four entries
CYCLE = torch.tensor([[0, 1, 2, 3], [1, 2, 0, 3], [2, 0, 1, 3]])
KERNELS = {"rbf": DerivativeRBFKernel, "matern52": DerivativeMatern52Kernel}


@pytest.fixture(params=KERNELS)
def name(request):
    return request.param


@pytest.fixture
def kernel(name):
    base = KERNELS[name]().double()
    base.lengthscale = torch.tensor(1.3, dtype=torch.float64)
    return SymmetrizedKernel(base, CYCLE)


@pytest.fixture
def rows(generator):
    shapes = (5,), (5, 4), (5, 4)
    return [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]


@pytest.fixture
def x(rows):
    b, v, q = rows
    return pack_observations(b.unsqueeze(-1), v, q)


def test_covariance_is_that_of_the_mean_over_the_group(name, kernel, rows, x):
    def mean(q1, q2):
        base = textbook.SCALAR_KERNELS[name]
        return sum(base(q1, q2[order], 1.3) for order in CYCLE) / 3

    expected = textbook.covariance(mean, rows, rows)
    torch.testing.assert_close(kernel(x).to_dense(), expected)


@pytest.mark.parametrize("order", CYCLE)
def test_permuting_either_argument_changes_nothing(kernel, x, order):
    plain, permuted = kernel(x).to_dense(), permute_observations(x, order)
    torch.testing.assert_close(kernel(permuted, x).to_dense(), plain)
    torch.testing.assert_close(kernel(x, permuted).to_dense(), plain)


def test_a_permutation_outside_the_group_does_change_it(kernel, x):
    other = permute_observations(x, torch.tensor([1, 0, 2, 3]))
    assert (kernel(other, x).to_dense() - kernel(x).to_dense()).abs().max() > 1e-3


def test_gram_matrix_is_symmetric_positive_definite(kernel, x):
    laws.gram_is_symmetric_and_positive_semidefinite(kernel, x)


def test_diag_is_the_diagonal(kernel, x):
    laws.diag_is_the_diagonal(kernel, x)


def test_a_batch_of_rows_gives_a_batch_of_matrices(kernel, x, counted):
    for k, rows in ((kernel, x), (ReferenceEnergyKernel(), counted)):
        batch = torch.stack([rows, rows.flip(0)])
        expected = torch.stack([k(part).to_dense() for part in batch])
        torch.testing.assert_close(k(batch).to_dense(), expected)
        laws.diag_is_the_diagonal(k, batch)


def test_the_group_of_the_identity_is_the_kernel_itself(kernel, x):
    alone = SymmetrizedKernel(kernel.base_kernel, torch.arange(4).unsqueeze(0))
    torch.testing.assert_close(
        alone(x).to_dense(), kernel.base_kernel(x).to_dense(), rtol=0, atol=1e-15
    )


@pytest.mark.parametrize(
    ("orders", "rule"),
    [
        ([[0, 1, 2], [0, 0, 2]], r"permutation of 0 \.\.\. d - 1"),
        ([[1, 0, 2]], "holds the identity: add it"),
    ],
)
def test_what_is_not_a_set_of_permutations_with_the_identity_is_refused(orders, rule):
    with pytest.raises(ValueError, match=rule):
        SymmetrizedKernel(DerivativeRBFKernel(), torch.tensor(orders))


@pytest.fixture
def counted():
    """[b, n_1, n_2, level]: two energies at level 0, one at level 1, a force."""
    return torch.tensor(
        [[1, 1, 2, 0], [1, 3, 1, 0], [1, 1, 2, 1], [0, 1, 2, 0]], dtype=torch.float64
    )


def test_reference_energies_are_independent_per_level_and_species(counted):
    """y = b n · e_l with e_(s, l) ~ N(0, width²), as an explicit linear map of e."""
    linear = torch.zeros(4, 4).double()  # rows x (level, species)
    for i, (b, n1, n2, level) in enumerate(counted):
        linear[i, 2 * int(level)], linear[i, 2 * int(level) + 1] = b * n1, b * n2
    expected = linear @ (0.3**2 * torch.eye(4).double()) @ linear.T
    kernel = ReferenceEnergyKernel(width=0.3)
    torch.testing.assert_close(kernel(counted).to_dense(), expected)
    laws.diag_is_the_diagonal(kernel, counted)
    pairs = kernel(counted, counted.flip(0), diag=True)
    torch.testing.assert_close(pairs, expected.fliplr().diagonal())


@pytest.mark.parametrize("width", [0.0, -1.0, float("nan")])
def test_a_width_that_is_not_positive_is_refused(width):
    with pytest.raises(ValueError, match=r"width must be positive .*got"):
        ReferenceEnergyKernel(width)
