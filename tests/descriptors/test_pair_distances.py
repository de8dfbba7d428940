"""Two-body descriptors: right slopes, sums of pair potentials, smooth at the cutoff."""

import laws
import numpy as np
import pytest
import torch
from ase import Atoms
from small_cells import alloy, cell, cluster

from mfal.descriptors import (
    Descriptor,
    PairDistances,
    pair_distances_from_specification,
)

CASES = {
    "crystal": (lambda: cell(0), ("Cu",)),
    "alloy": (lambda: alloy(1), ("Cu", "Au")),
    "molecule": (lambda: cluster(0), ("Cu", "Au", "Al")),
    "isolated atom": (lambda: Atoms("Cu"), ("Cu", "Au")),
}


@pytest.fixture(params=CASES)
def known(request):
    make, species = CASES[request.param]
    return PairDistances(species, cutoff=4.5, n_centres=6), make()


def test_gradients_are_slopes(known):
    laws.jacobian_is_the_derivative(*known)


def test_strain_derivatives_are_slopes(known):
    descriptor, atoms = known
    if not atoms.pbc.all():
        assert descriptor(atoms).strain is None
        return
    laws.strain_gradient_is_the_derivative(descriptor, atoms)


def test_a_linear_function_is_a_sum_of_pair_potentials():
    descriptor = PairDistances(("Cu", "Au"), cutoff=5.0, n_centres=5)
    weights = torch.randn(
        2, descriptor.size, generator=torch.Generator().manual_seed(0)
    )
    weights = weights.double()
    atoms = Atoms("CuAuCu", [[0, 0, 0], [2.1, 0.4, 0], [0.2, 2.9, 1.3]])

    def energy(chosen):
        e = descriptor(chosen)
        own = [("Cu", "Au").index(s) for s in chosen.get_chemical_symbols()]
        return float((e.values * weights[own]).sum())

    pairs = [(0, 1), (0, 2), (1, 2)]
    assert energy(atoms) == pytest.approx(sum(energy(atoms[list(p)]) for p in pairs))


def test_it_fades_smoothly_at_the_cutoff():
    descriptor = PairDistances(("Cu",), cutoff=4.0, n_centres=4, smoothing=0.5)
    size = [
        float(descriptor(Atoms("Cu2", [[0, 0, 0], [r, 0, 0]])).values.abs().max())
        for r in (3.4, 3.99, 3.9999, 4.001)
    ]
    assert size[0] > 0.1 > size[1] > size[2] > size[3] == 0.0


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="chemical symbols"):
        PairDistances(("Xy",))
    with pytest.raises(ValueError, match="give a cutoff above zero"):
        PairDistances(("Cu",), cutoff=0.5, smoothing=1.0)
    with pytest.raises(ValueError, match="knows the species Cu, not Au"):
        PairDistances(("Cu",))(Atoms("Au"))


def test_it_is_a_descriptor_that_its_specification_builds_again():
    descriptor = PairDistances(("Au", "Cu"), cutoff=4.0, n_centres=7)
    assert isinstance(descriptor, Descriptor)
    again = pair_distances_from_specification(descriptor.specification())
    assert again.specification() == descriptor.specification()
    atoms = alloy(0)
    np.testing.assert_array_equal(again(atoms).values, descriptor(atoms).values)
    assert descriptor(atoms).values.shape == (3, descriptor.size)
