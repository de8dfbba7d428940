"""Power spectra: right slopes, invariant, smooth, refused where undefined."""

import pickle

import laws
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from featomic import SphericalExpansion
from small_cells import alloy, cell, cluster, small_soap

from mfal.descriptors import Descriptor
from mfal.descriptors.soap import Soap, soap_from_specification


def primitive():
    """One atom that sees only its own images."""
    atoms = bulk("Cu", "fcc", a=3.6)
    atoms.set_cell(laws.strained(atoms, 3, 0.05).cell, scale_atoms=True)
    return atoms


def layer(pbc=(True, False, True)):
    """Periodic in some directions, the others hold a meaningless cell."""
    atoms = alloy(3)
    atoms.set_cell(atoms.cell.array * [[1], [0.2], [1]])
    atoms.pbc = pbc
    return atoms


def carbon_dioxide_and_hydrogen():
    atoms = molecule("H2O") + Atoms("C", [[1.6, 0.4, 0.9]])
    atoms.rattle(0.1, seed=4)
    return atoms


STRUCTURES = {
    "crystal": (lambda: cell(0), ("Cu",)),
    "three species": (carbon_dioxide_and_hydrogen, ("H", "C", "O")),
    "alloy": (lambda: alloy(1), ("Cu", "Au")),
    "own images": (primitive, ("Cu",)),
    "isolated atom": (lambda: Atoms("Cu"), ("Cu", "Au")),
    "molecule": (lambda: cluster(0), ("Cu", "Au", "Al")),
    "layer": (layer, ("Cu", "Au")),
    "wire": (lambda: layer((False, True, False)), ("Cu", "Au")),
}
CUTOFFS = {"one cutoff": (3.5,), "two cutoffs": (2.8, 4.0)}
KNOWN = {
    f"{name}, {cutoffs}": (*case, CUTOFFS[cutoffs])
    for name, case in STRUCTURES.items()
    for cutoffs in CUTOFFS
    if cutoffs == "one cutoff" or name in ("crystal", "three species", "layer")
}


@pytest.fixture(params=KNOWN)
def known(request):
    make, species, cutoffs = KNOWN[request.param]
    return make(), small_soap(*species, cutoffs=cutoffs)


@pytest.fixture
def soap(known):
    return known[1]


@pytest.fixture
def atoms(known):
    return known[0]


def test_gradients_are_the_derivatives_by_finite_differences(atoms, soap):
    laws.jacobian_is_the_derivative(soap, atoms)


def test_strain_gradients_are_the_derivatives_by_finite_differences(atoms, soap):
    if atoms.pbc.any():
        laws.strain_gradient_is_the_derivative(soap, atoms)
    else:
        assert soap(atoms).strain is None


@pytest.mark.parametrize("move", ["rotated", "translated", "mirrored", "wrapped"])
def test_values_do_not_change_when_the_structure_moves(atoms, soap, move):
    moved = {
        "rotated": lambda: laws.rotated(atoms)[0],
        "translated": lambda: laws.translated(atoms),
        "mirrored": lambda: laws.rotated(atoms)[0],
        "wrapped": lambda: atoms.copy(),
    }[move]()
    if move == "mirrored":
        moved.set_cell(-moved.cell.array)
        moved.positions *= -1
    if move == "wrapped":
        moved.positions += 2 * (atoms.pbc[:, None] * atoms.cell.array).sum(axis=0)
        moved.wrap()
    laws.descriptor_is_invariant(soap.values(atoms), soap.values(moved), atol=1e-9)


def test_environments_go_with_their_atoms(atoms, soap):
    permutation = np.random.default_rng(1).permutation(len(atoms))
    one, other = soap(atoms), soap(laws.permuted(atoms, permutation))
    torch.testing.assert_close(other.values, one.values[permutation])
    assert other.species.tolist() == one.species[permutation].tolist()
    for new, old in enumerate(permutation):
        jacobian = one.jacobian(int(old)).reshape(len(atoms), 3, -1)[permutation]
        moved = other.jacobian(new)
        torch.testing.assert_close(moved, jacobian.flatten(0, 1), atol=1e-9, rtol=0)


def test_values_without_gradients_are_the_same(atoms, soap):
    torch.testing.assert_close(soap.values(atoms), soap(atoms).values, rtol=0, atol=0)


def test_a_supercell_repeats_the_environments():
    soap, atoms = small_soap("Cu", "Au"), alloy(2)
    repeated = soap.values(atoms).repeat(2, 1)
    torch.testing.assert_close(soap.values(atoms.repeat((1, 2, 1))), repeated)


def full_spectra(atoms, soap):
    """p_anbn'l over all ordered pairs (an, bn'), from the expansion coefficients."""
    options = soap.specification()
    n, largest = options["max_radial"], options["max_angular"]
    spectra = []
    for radius in soap.cutoffs:
        expansion = SphericalExpansion(
            cutoff={
                "radius": radius,
                "smoothing": {"type": "ShiftedCosine", "width": options["smoothing"]},
            },
            density={
                "type": "Gaussian",
                "width": options["width"],
                "center_atom_weight": options["centre_weight"],
                "scaling": {
                    "type": "Willatt2018",
                    "exponent": options["exponent"],
                    "rate": 1.0,
                    "scale": options["scale"],
                },
            },
            basis={
                "type": "TensorProduct",
                "max_angular": largest,
                "radial": {"type": "Gto", "max_radial": n - 1},
            },
        ).compute(atoms)
        c = np.zeros((len(atoms), len(soap.species), n, largest + 1, 2 * largest + 1))
        numbers = [Atoms(s).numbers[0] for s in soap.species]
        for key, block in expansion.items():
            degree, species = key["o3_lambda"], numbers.index(key["neighbor_type"])
            who = block.samples.values[:, 1]
            coefficients = np.asarray(block.values).transpose(0, 2, 1)
            c[who, species, :, degree, : 2 * degree + 1] = coefficients
        weight = 1 / np.sqrt(2 * np.arange(largest + 1) + 1)
        p = np.einsum("ianlm,ibklm,l->ianbkl", c, c, weight)
        spectra.append(p.reshape(len(atoms), -1))
    return np.concatenate(spectra, axis=1)


@pytest.mark.parametrize("cutoffs", CUTOFFS.values(), ids=CUTOFFS)
@pytest.mark.parametrize("make", [lambda: alloy(1), lambda: cell(0)])
def test_the_dot_product_of_two_spectra_is_that_of_the_full_ones(make, cutoffs):
    soap, atoms = small_soap("Cu", "Au", cutoffs=cutoffs), make()
    full = full_spectra(atoms, soap)
    reduced = soap.values(atoms).numpy()
    assert reduced.shape[1] < full.shape[1]
    np.testing.assert_allclose(reduced @ reduced.T, full @ full.T, rtol=1e-9)


def test_size_is_the_length_of_a_descriptor(atoms, soap):
    assert soap(atoms).values.shape == (len(atoms), soap.size)


def test_a_leaving_neighbour_leaves_the_isolated_atom():
    soap = small_soap("Cu", "Au", cutoffs=(3.5,))
    alone = soap.values(Atoms("Cu"))[0]

    def pair(distance):
        environments = soap(Atoms("CuAu", [[0, 0, 0], [distance, 0, 0]]))
        change = environments.values[0] - alone
        return float(change.norm()), float(environments.jacobian(0).norm())

    assert pair(3.0)[0] > 1e-3
    assert pair(3.5 + 1e-6) == (0.0, 0.0)
    for step in (1e-2, 1e-3):
        (change, slope), (less, flatter) = pair(3.5 - step), pair(3.5 - step / 2)
        assert less == pytest.approx(change / 4, rel=0.05)
        assert flatter == pytest.approx(slope / 2, rel=0.05)


def test_specification_builds_the_descriptor_again(atoms, soap):
    specification = soap.specification()
    assert specification["name"] == "soap"
    again = soap_from_specification(specification)
    assert again.specification() == specification
    torch.testing.assert_close(again.values(atoms), soap.values(atoms), rtol=0, atol=0)


def test_a_pickled_descriptor_is_the_same(atoms, soap):
    again = pickle.loads(pickle.dumps(soap))  # noqa: S301
    torch.testing.assert_close(again.values(atoms), soap.values(atoms), rtol=0, atol=0)


def test_it_is_a_descriptor(soap):
    assert isinstance(soap, Descriptor)


def test_species_are_sorted_whatever_their_order():
    assert small_soap("Au", "Cu", "Au").species == ("Cu", "Au")


def test_what_atoms_carry_beside_their_geometry_does_not_matter():
    soap, atoms = small_soap("Cu"), cell(0)
    plain = soap.values(atoms)
    atoms.arrays["velocities_of_nothing"] = np.full(4, np.nan)
    atoms.info["name"] = "cell"
    torch.testing.assert_close(soap.values(atoms), plain, rtol=0, atol=0)


def lost(value):
    atoms = cell(0)
    atoms.positions[1, 1] = value
    return atoms


def lost_cell():
    atoms = cell(0)
    atoms.cell[0, 0] = np.nan
    return atoms


@pytest.mark.parametrize(
    ("atoms", "rule"),
    [
        (molecule("H2O"), "knows the species Cu, Au, not H, O: fit"),
        (lost(np.nan), "a position is not finite"),
        (lost(np.inf), "a position is not finite"),
        (lost_cell(), "a cell vector is not finite"),
        (Atoms("Cu", pbc=True), "cell vectors of the periodic directions"),
        (Atoms("Cu", cell=[3, 0, 0], pbc=[1, 1, 0]), "cell vectors of the periodic"),
    ],
)
@pytest.mark.parametrize("call", ["values", "__call__"])
def test_what_has_no_descriptor_is_refused(atoms, rule, call):
    with pytest.raises(ValueError, match=rule):
        getattr(small_soap("Cu", "Au"), call)(atoms)


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"species": []}, "chemical symbols"),
        ({"species": ["Cu", "Xq"]}, r"chemical symbols as species, got .*Xq"),
        ({"cutoffs": ()}, "at least one cutoff"),
        ({"cutoffs": (5.0, -1.0)}, "cutoff 1 must be a positive length"),
        ({"width": 0.0}, "width must be a positive length"),
        ({"smoothing": float("nan")}, "smoothing must be a positive length"),
        ({"scale": -1.0}, "scale must be a positive length"),
        ({"max_radial": 0}, "max_radial >= 1"),
        ({"max_angular": -1}, "max_angular >= 0"),
    ],
)
def test_impossible_options_are_refused(arguments, rule):
    with pytest.raises(ValueError, match=rule):
        Soap(**{"species": ["Cu"], **arguments})
