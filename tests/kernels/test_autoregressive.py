"""Levels build on each other: f_l = rho_l f_(l-1) + delta_l."""

import laws
import pytest
import textbook
import torch
from gpytorch.constraints import Interval
from gpytorch.kernels import ScaleKernel
from gpytorch.priors import NormalPrior

from mfal.kernels import (
    AutoregressiveKernel,
    DerivativeMatern52Kernel,
    DerivativeRBFKernel,
    pack_observations,
    path_weights,
)

RHO = torch.tensor([0.8, -1.7], dtype=torch.float64)
N = 5


@pytest.fixture
def bases():
    """One kernel per level, each with its own profile, lengthscale and scale."""
    bases = []
    for kind, lengthscale, variance in (
        (DerivativeRBFKernel, 1.0, 2.0),
        (DerivativeMatern52Kernel, 0.6, 0.5),
        (DerivativeRBFKernel, 1.7, 0.1),
    ):
        base = ScaleKernel(kind().double()).double()
        base.base_kernel.lengthscale, base.outputscale = lengthscale, variance
        bases.append(base)
    return bases


@pytest.fixture
def kernel(bases):
    kernel = AutoregressiveKernel(bases).double()
    kernel.rho = RHO
    return kernel


@pytest.fixture
def rows(generator):
    shapes = (N, 1), (N, 2), (N, 2)
    return pack_observations(
        *(torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes)
    )


def at_level(rows, level):
    return torch.cat([rows, torch.full((len(rows), 1), float(level)).double()], dim=1)


@pytest.fixture
def x(rows):
    return torch.cat([at_level(rows, level) for level in range(3)])


def composed(bases, rows, rho):
    """cov of (f_0, f_1, f_2), f_2 = rho_2 (rho_1 f_0 + delta_1) + delta_2, as linear maps
    of (f_0, delta_1, delta_2)."""
    one, zero = torch.eye(N).double(), torch.zeros(N, N).double()
    f0 = torch.cat([one, zero, zero], dim=1)
    delta1 = torch.cat([zero, one, zero], dim=1)
    delta2 = torch.cat([zero, zero, one], dim=1)
    f1 = rho[0] * f0 + delta1
    f2 = rho[1] * f1 + delta2
    up = torch.cat([f0, f1, f2])
    return up @ torch.block_diag(*(k(rows).to_dense() for k in bases)) @ up.T


def test_path_weights_are_the_recursion_from_level_to_level():
    rho = torch.tensor([0.8, -1.7, 3.0], dtype=torch.float64)
    expected = torch.stack([textbook.recursion(rho, level) for level in range(4)])
    torch.testing.assert_close(path_weights(rho), expected)


def test_slope_of_path_weights_is_that_of_the_recursion():
    rho = torch.tensor([0.8, -1.7, 3.0], dtype=torch.float64, requires_grad=True)
    recursion = torch.stack([textbook.recursion(rho, level) for level in range(4)])
    mix = torch.arange(16.0).double().reshape(4, 4)
    slopes = [
        torch.autograd.grad((mix * c).sum(), rho)[0]
        for c in (path_weights(rho), recursion)
    ]
    torch.testing.assert_close(*slopes)


def test_covariance_is_that_of_levels_composed_by_hand(kernel, bases, rows, x):
    torch.testing.assert_close(kernel(x).to_dense(), composed(bases, rows, RHO))


def test_covariance_is_that_of_sampled_levels(kernel, bases, rows, x, generator):
    """Draw f_0, delta_1, delta_2, build f_2 of them, and take the sample covariance."""
    n = 100_000
    f = None
    levels = []
    for step, base in zip([0.0, *RHO], bases, strict=True):
        factor = torch.linalg.cholesky(base(rows).to_dense())
        part = factor @ torch.randn(N, n, generator=generator, dtype=torch.float64)
        f = part if f is None else step * f + part
        levels.append(f)
    stacked = torch.cat(levels)
    k = kernel(x).to_dense()
    spread = (k.diagonal()[:, None] * k.diagonal()).sqrt()
    assert ((stacked @ stacked.T / n - k).abs() / spread).max() < 0.02


def test_rectangular_blocks_and_any_level_column_agree(kernel, bases, x):
    whole = kernel(x).to_dense()
    torch.testing.assert_close(kernel(x[:4], x[3:]).to_dense(), whole[:4, 3:])
    first = AutoregressiveKernel(bases, level_column=0).double()
    first.rho = RHO
    torch.testing.assert_close(first(x.roll(1, dims=1)).to_dense(), whole)


def test_gram_matrix_is_symmetric_positive_definite(kernel, x):
    laws.gram_is_symmetric_and_positive_semidefinite(kernel, x)


def test_diag_is_the_diagonal(kernel, x):
    laws.diag_is_the_diagonal(kernel, x)


def test_a_batch_of_inputs_gives_a_batch_of_matrices(kernel, x):
    batch = torch.stack([x, x.flip(0)])
    expected = torch.stack([kernel(part).to_dense() for part in batch])
    torch.testing.assert_close(kernel(batch).to_dense(), expected)


def test_rho_zero_decouples_the_levels(kernel, bases, rows, x):
    kernel.rho = torch.zeros(2)
    independent = torch.block_diag(*(k(rows).to_dense() for k in bases))
    torch.testing.assert_close(kernel(x).to_dense(), independent)


def test_one_level_is_its_own_kernel(bases, rows):
    alone = AutoregressiveKernel(bases[:1]).double()
    torch.testing.assert_close(
        alone(at_level(rows, 0)).to_dense(), bases[0](rows).to_dense()
    )


@pytest.mark.parametrize("level", [-1.0, 3.0, 0.5])
def test_a_level_that_does_not_exist_is_refused(kernel, rows, level):
    with pytest.raises(ValueError, match=rf"integers from 0 to 2 .*got \[{level}\]"):
        kernel(at_level(rows, level)).to_dense()


def test_no_kernels_are_refused():
    with pytest.raises(ValueError, match="one kernel per level"):
        AutoregressiveKernel([])


@pytest.mark.parametrize("constraint", [None, Interval(-1.0, 3.0)])
def test_rho_comes_back_through_its_constraint_and_its_prior(bases, constraint):
    kernel = AutoregressiveKernel(
        bases, rho_prior=NormalPrior(1.0, 0.3), rho_constraint=constraint
    ).double()
    torch.testing.assert_close(kernel.rho, torch.ones(2).double())
    kernel.rho = RHO.clamp_min(-0.9)
    torch.testing.assert_close(kernel.rho, RHO.clamp_min(-0.9))
    ((_, module, prior, read, write),) = [
        p for p in kernel.named_priors() if "rho" in p[0]
    ]
    torch.testing.assert_close(read(module), kernel.rho)
    write(module, torch.tensor(0.5))
    torch.testing.assert_close(kernel.rho, torch.full((2,), 0.5).double())
    expected = torch.distributions.Normal(1.0, 0.3).log_prob(torch.tensor(0.5))
    torch.testing.assert_close(prior.log_prob(read(module))[0].float(), expected)


def test_rho_linear_in_x_composes_the_levels_point_by_point(bases, rows, x):
    """f_2 = rho_2(x) (rho_1(x) f_0 + delta_1) + delta_2 with diagonal matrices rho(x)."""
    kernel = AutoregressiveKernel(bases, n_slopes=rows.shape[1]).double()
    kernel.rho = RHO
    slope = torch.linspace(-0.3, 0.4, 2 * rows.shape[1]).double().reshape(2, -1)
    kernel.slope.data = slope
    steps = [(RHO[k] + rows @ slope[k]).diag() for k in (0, 1)]
    one, zero = torch.eye(N).double(), torch.zeros(N, N).double()
    f0 = torch.cat([one, zero, zero], dim=1)
    f1 = steps[0] @ f0 + torch.cat([zero, one, zero], dim=1)
    f2 = steps[1] @ f1 + torch.cat([zero, zero, one], dim=1)
    up = torch.cat([f0, f1, f2])
    parts = torch.block_diag(*(k(rows).to_dense() for k in bases))
    torch.testing.assert_close(kernel(x).to_dense(), up @ parts @ up.T)


def test_units_scale_the_levels_and_offsets_are_constants_of_each_step(bases, x):
    unit = torch.tensor([1.0, 10.0, 0.1]).double()
    kernel = AutoregressiveKernel(bases, level_unit=unit, offset_variance=0.7).double()
    plain = AutoregressiveKernel(bases).double()
    kernel.rho = plain.rho = RHO
    up = torch.stack([textbook.recursion(RHO, int(level)) for level in x[:, -1]])
    scale = unit[x[:, -1].long()]
    expected = (plain(x).to_dense() + 0.7 * up @ up.T) * scale[:, None] * scale
    torch.testing.assert_close(kernel(x).to_dense(), expected)
