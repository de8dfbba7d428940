"""Environments: sparse gradients that add up to the dense jacobian."""

import torch

from mfal.descriptors import Environments


def test_jacobian_collects_the_pairs_of_one_environment(generator):
    """Two environments share atom 1; a pair that stands twice counts twice."""
    gradients = torch.randn(4, 3, 5, generator=generator, dtype=torch.float64)
    environments = Environments(
        values=torch.zeros(2, 5, dtype=torch.float64),
        species=torch.tensor([6, 1]),
        pair_environment=torch.tensor([0, 0, 1, 1]),
        pair_atom=torch.tensor([0, 1, 1, 1]),
        gradients=gradients,
        n_atoms=3,
    )
    zero = torch.zeros(3, 5, dtype=torch.float64)
    torch.testing.assert_close(
        environments.jacobian(0), torch.cat([gradients[0], gradients[1], zero])
    )
    torch.testing.assert_close(
        environments.jacobian(1), torch.cat([zero, gradients[2] + gradients[3], zero])
    )
