"""Derivative kernels are scalar kernels observed in both arguments."""

import laws
import pytest
import textbook
import torch
from torch.func import grad, vmap

from mfal.kernels import (
    DerivativeMatern52Kernel,
    DerivativeRBFKernel,
    matern52_profile,
    pack_observations,
    rbf_profile,
)

LENGTHSCALE = 0.7
KERNELS = {
    "rbf": (DerivativeRBFKernel, rbf_profile),
    "matern52": (DerivativeMatern52Kernel, matern52_profile),
}


def scalar(name):
    def kernel(q1, q2):
        return textbook.SCALAR_KERNELS[name](q1, q2, LENGTHSCALE)

    return kernel


@pytest.fixture(params=KERNELS)
def name(request):
    return request.param


@pytest.fixture
def kernel(name):
    kernel = KERNELS[name][0]().double()
    kernel.lengthscale = torch.tensor(LENGTHSCALE, dtype=torch.float64)
    return kernel


@pytest.fixture
def rows(generator):
    """Observations with a value and a derivative together, (b, v, q)."""

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return normal(6), normal(6, 3), normal(6, 3)


def packed(b, v, q):
    return pack_observations(b.unsqueeze(-1), v, q)


def test_profiles_are_the_radial_functions_with_their_derivatives(name):
    profile = KERNELS[name][1]
    s = torch.tensor([1e-4, 0.3, 1.0, 4.0, 30.0], dtype=torch.float64)

    def radial(s):
        return textbook.SCALAR_KERNELS[name](s.sqrt().reshape(1), torch.zeros(1), 1.0)

    value, first, second = profile(s)
    torch.testing.assert_close(value, vmap(radial)(s))
    torch.testing.assert_close(first, vmap(grad(radial))(s))
    torch.testing.assert_close(second, vmap(grad(grad(radial)))(s), rtol=1e-6, atol=0)


def test_covariance_is_the_scalar_kernel_observed_in_both_arguments(name, kernel, rows):
    left, right = [r[:4] for r in rows], [r[2:] for r in rows]
    expected = textbook.covariance(scalar(name), left, right)
    computed = kernel(packed(*left), packed(*right)).to_dense()
    torch.testing.assert_close(computed, expected)


@pytest.mark.parametrize("left", ["energy", "force"])
@pytest.mark.parametrize("right", ["energy", "force"])
def test_energies_and_forces_alone_are_covariant_as_autodiff_says(
    name, kernel, rows, left, right
):
    def only(kind, b, v, q):
        return (b, 0 * v, q) if kind == "energy" else (0 * b, v, q)

    left = [r[:3] for r in only(left, *rows)]
    right = [r[3:] for r in only(right, *rows)]
    expected = textbook.covariance(scalar(name), left, right)
    torch.testing.assert_close(
        kernel(packed(*left), packed(*right)).to_dense(), expected
    )


def test_covariance_at_one_place_is_finite_and_right_with_its_gradient(
    name, kernel, rows
):
    """Both rows at the same q: cov = b b' - 2 φ'(0) v · v' / ℓ²."""
    b, v, q = rows
    x = packed(b, v, q[:1].expand_as(q))
    slope = {"rbf": -0.5, "matern52": -5 / 6}[name]
    expected = b[:, None] * b - 2 * slope * v @ v.T / LENGTHSCALE**2
    x.requires_grad_()
    computed = kernel(x).to_dense()
    torch.testing.assert_close(computed.detach(), expected)
    loss = computed.square().sum()
    slopes = torch.autograd.grad(loss, [x, kernel.raw_lengthscale])
    assert all(s.isfinite().all() for s in slopes)


def test_slope_with_the_lengthscale_is_that_of_the_scalar_kernel(name, kernel, rows):
    (slope,) = torch.autograd.grad(
        kernel(packed(*rows)).to_dense().square().sum(), kernel.raw_lengthscale
    )

    def loss(raw):
        lengthscale = torch.nn.functional.softplus(raw)

        def k(q1, q2):
            return textbook.SCALAR_KERNELS[name](q1, q2, lengthscale)

        return textbook.covariance(k, rows, rows).square().sum()

    raw = kernel.raw_lengthscale.detach().squeeze()
    torch.testing.assert_close(slope.squeeze(), grad(loss)(raw))


def test_covariance_does_not_lose_digits_far_from_the_origin(kernel, rows):
    b, v, q = rows
    torch.testing.assert_close(
        kernel(packed(b, v, q + 1e4)).to_dense(),
        kernel(packed(b, v, q)).to_dense(),
        rtol=1e-8,
        atol=1e-8,
    )


def test_gram_matrix_is_symmetric_positive_definite(kernel, rows):
    laws.gram_is_symmetric_and_positive_semidefinite(kernel, packed(*rows))


def test_diag_is_the_diagonal(kernel, rows):
    laws.diag_is_the_diagonal(kernel, packed(*rows))


def test_diag_of_two_sets_is_the_covariance_of_each_pair(kernel, rows):
    x = packed(*rows)
    torch.testing.assert_close(
        kernel(x[:3], x[3:], diag=True), kernel(x[:3], x[3:]).to_dense().diagonal()
    )


def test_a_batch_of_rows_gives_a_batch_of_matrices(kernel, rows):
    x = packed(*rows).reshape(2, 3, -1)
    torch.testing.assert_close(
        kernel(x).to_dense(), torch.stack([kernel(part).to_dense() for part in x])
    )


@pytest.mark.parametrize("columns", [1, 2, 4])
def test_rows_of_a_wrong_width_are_refused(kernel, columns):
    with pytest.raises(
        ValueError, match=rf"2 d \+ 1 columns .*got {columns}: build .*pack_obs"
    ):
        kernel(torch.zeros(2, columns).double()).to_dense()
