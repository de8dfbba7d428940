"""Descriptors as TorchScript, before an engine runs them: numbers of the originals."""

import numpy as np
import pytest
import torch
from ase import Atoms
from scipy.spatial.transform import Rotation
from small_cells import alloy, cell, cluster, small_soap
from sphericart import SphericalHarmonics

from mfal.calculators import metatomic_descriptors as scripted
from mfal.calculators.metatomic_energies import power
from mfal.descriptors import InverseDistances, PairDistances
from mfal.descriptors.density import CLOSEST, neighbours

TWO_CUTOFFS = {"cutoffs": (3.5, 4.5), "max_radial": (3, 4), "max_angular": (2, 4)}
DESCRIPTORS = {
    "one species": (small_soap("Cu"), cell(0)),
    "alloy": (small_soap("Cu", "Au"), alloy(0)),
    "species apart": (small_soap("Cu", "Ag", "Au"), cluster(0)),
    "two cutoffs": (small_soap("Cu", "Au", **TWO_CUTOFFS), alloy(1)),
    "alone": (small_soap("Cu", "Au"), Atoms("Au")),
    "pairs": (PairDistances(["Cu", "Au"], cutoff=4.0, n_centres=5), alloy(2)),
}


def spectra(module, atoms, cutoff):
    """What the module makes of the pairs of a structure."""
    pairs = neighbours(atoms, cutoff)
    numbers = torch.from_numpy(atoms.numbers).long()
    return module(
        torch.from_numpy(pairs.vector),
        torch.from_numpy(pairs.environment),
        numbers[torch.from_numpy(pairs.atom)],
        numbers,
    )


@pytest.mark.parametrize("l_max", [0, 1, 6, 10])
def test_harmonics_are_those_of_sphericart(l_max):
    directions = Rotation.random(50, rng=1).as_matrix()[:, 0].copy()
    directions[0] = [0.0, 0.0, 1.0]
    expected = SphericalHarmonics(l_max).compute(directions)
    found = scripted.SphericalHarmonics(l_max)(torch.from_numpy(directions))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-11)


@pytest.mark.parametrize("case", DESCRIPTORS)
def test_values_are_those_of_the_descriptor(case):
    descriptor, atoms = DESCRIPTORS[case]
    module = scripted.scripted_descriptor(descriptor)
    found = spectra(module, atoms, scripted.longest_cutoff([descriptor]))
    expected = descriptor(atoms).values
    # featomic's own splines are good to 1e-9 of the largest entries
    np.testing.assert_allclose(found, expected, atol=1e-8 * float(expected.abs().max()))


@pytest.mark.parametrize("case", [c for c in DESCRIPTORS if c != "pairs"])
def test_spectra_are_those_that_kernels_are_made_of(case):
    """To rounding: neither takes a factor in single precision."""
    descriptor, atoms = DESCRIPTORS[case]
    module = scripted.scripted_descriptor(descriptor)
    found = spectra(module, atoms, scripted.longest_cutoff([descriptor]))
    whole = torch.eye(descriptor.size, dtype=torch.float64)
    expected = descriptor.projected(atoms, whole).values
    np.testing.assert_allclose(
        found, expected, atol=1e-13 * float(expected.abs().max())
    )


@pytest.mark.parametrize("case", DESCRIPTORS)
def test_a_module_can_be_scripted(case):
    descriptor, atoms = DESCRIPTORS[case]
    module = scripted.scripted_descriptor(descriptor)
    cutoff = scripted.longest_cutoff([descriptor])
    found = spectra(torch.jit.script(module), atoms, cutoff)
    torch.testing.assert_close(found, spectra(module, atoms, cutoff))


def test_slopes_are_those_of_the_values():
    descriptor, atoms = DESCRIPTORS["two cutoffs"]
    module = scripted.scripted_descriptor(descriptor)
    pairs = neighbours(atoms, 4.5)
    numbers = torch.from_numpy(atoms.numbers).long()
    others = numbers[torch.from_numpy(pairs.atom)]
    homes = torch.from_numpy(pairs.environment)
    weights = torch.from_numpy(np.random.default_rng(0).normal(size=descriptor.size))

    def some(vectors):
        return (module(vectors, homes, others, numbers) @ weights).sum()

    vectors = torch.from_numpy(pairs.vector).requires_grad_()
    (slope,) = torch.autograd.grad(some(vectors), vectors)
    move = torch.from_numpy(np.random.default_rng(1).normal(size=vectors.shape))
    step = 1e-5
    rise = some(vectors + step * move) - some(vectors - step * move)
    expected = float(rise.detach()) / (2 * step)
    np.testing.assert_allclose(float((slope * move).sum()), expected, rtol=1e-7)


def test_atoms_upon_each_other_are_refused():
    descriptor, _ = DESCRIPTORS["one species"]
    module = scripted.scripted_descriptor(descriptor)
    near = torch.tensor([[0.0, 0.0, 0.5 * CLOSEST]]).double()
    copper = torch.tensor([29])
    with pytest.raises(ValueError, match="nearer"):
        module(near, torch.tensor([0]), copper, copper)


def test_a_descriptor_without_a_module_is_refused():
    with pytest.raises(TypeError, match="InverseDistances cannot be exported"):
        scripted.scripted_descriptor(InverseDistances(["O", "H", "H"]))


@pytest.mark.parametrize("exponent", [1, 2, 3, 4, 6, 7])
def test_powers_are_products(exponent):
    base = torch.linspace(-1, 1, 7, dtype=torch.float64)
    torch.testing.assert_close(power(base, exponent), base**exponent)
