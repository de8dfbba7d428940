"""A structure or label that cannot be right is refused with the reason."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.emt import EMT

from mfal.data import Fidelity, Label, LabelledDataset
from mfal.data.checks import check_electrons, check_label, check_structure, check_units


@pytest.mark.parametrize(
    "atoms",
    [
        molecule("CH3CH2OH"),
        molecule("H2"),
        bulk("Cu"),  # nearest neighbours are images of the only atom
        bulk("Cu") * (1, 1, 3),  # an odd number of electrons per cell is no fault
        fcc111("Cu", (1, 1, 3), vacuum=8.0),
        fcc111("Cu", (1, 1, 3)),  # no cell vector where there is no period
        Atoms("Ar"),
    ],
    ids=["ethanol", "hydrogen", "copper", "three copper", "slab", "flat slab", "argon"],
)
def test_sane_structures_pass(atoms):
    assert check_structure(atoms) is None


@pytest.mark.parametrize("distance", [0.0, 0.1, 0.4])
def test_atoms_on_top_of_each_other_are_refused(distance):
    atoms = Atoms("OH", [[0, 0, 0], [0, 0, distance]])
    reason = check_structure(atoms, multiplicity=2)
    assert reason == (
        f"atoms 0 (O) and 1 (H) are {distance:.3f} A apart, "
        "less than 0.5 of the sum of their radii"
    )


def test_the_ratio_of_the_distance_is_what_decides():
    atoms = Atoms("OH", [[0, 0, 0], [0, 0, 0.6]])  # 0.62 of 0.66 + 0.31 A
    assert check_structure(atoms, multiplicity=2, minimum_ratio=0.61) is None
    assert "apart" in check_structure(atoms, multiplicity=2, minimum_ratio=0.63)


def test_images_across_the_cell_boundary_count():
    atoms = Atoms("Cu2", [[0.05, 5, 5], [9.95, 5, 5]], cell=[10, 10, 10])
    assert check_structure(atoms) is None
    atoms.pbc = True
    assert "atoms 0 (Cu) and 1 (Cu) are 0.100 A apart" in check_structure(atoms)


def test_an_atom_on_its_own_image_is_refused():
    atoms = Atoms("Cu", cell=[10, 10, 1], pbc=True)
    assert "atoms 0 (Cu) and 0 (Cu) are 1.000 A apart" in check_structure(atoms)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (np.diag([4.0, 4.0, -4.0]), "left-handed"),
        (np.array([[4.0, 0, 0], [4, 0, 0], [0, 0, 4]]), "flat"),
        (np.array([[4.0, 0, 0], [4, 1e-3, 0], [0, 0, 4]]), "flat"),
        (np.diag([4.0, 4.0, 0.0]), "no cell vector"),
        (np.diag([4.0, 4.0, np.nan]), "not finite"),
    ],
)
def test_a_cell_that_is_inverted_or_has_no_volume_is_refused(cell, message):
    assert message in check_structure(Atoms("Cu", cell=cell, pbc=True))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_positions_that_are_not_finite_are_refused(bad):
    atoms = molecule("H2O")
    atoms.positions[1, 2] = bad
    assert "not finite" in check_structure(atoms)


def test_a_structure_without_atoms_is_refused():
    assert check_structure(Atoms()) == "there are no atoms"


@pytest.mark.parametrize(
    ("name", "charge", "multiplicity"),
    [("H2O", 0, 1), ("O2", 0, 3), ("OH", 0, 2), ("OH", -1, 1), ("CH3", 1, 1)],
)
def test_states_that_exist_pass(name, charge, multiplicity):
    atoms = molecule(name)
    assert check_electrons(atoms, charge=charge, multiplicity=multiplicity) is None


@pytest.mark.parametrize(
    ("name", "charge", "multiplicity", "message"),
    [
        ("OH", 0, 1, r"9 electrons .* set a multiplicity that is even"),
        ("H2O", 0, 2, r"10 electrons .* set a multiplicity that is odd"),
        ("H2O", 1, 1, r"9 electrons \(charge \+1\)"),
        ("H2", 0, 5, "2 electrons"),
        ("H2", 2, 1, "0 electrons"),
    ],
)
def test_states_that_do_not_exist_are_refused(name, charge, multiplicity, message):
    atoms = molecule(name)
    reason = check_structure(atoms, charge=charge, multiplicity=multiplicity)
    with pytest.raises(ValueError, match=message):
        raise ValueError(reason)
    assert check_structure(atoms, charge=charge, multiplicity=None) is None


WATER = molecule("H2O")
PULL = np.array([[0, 0, 3.0], [0, 0, -1.0], [0, 0, -1.0]])


def test_a_label_within_the_limits_passes():
    label = Label(-2.0, PULL)
    assert check_label(WATER, label, ("energy", "forces")) is None
    assert (
        check_label(
            WATER,
            label,
            ("energy", "forces"),
            largest_force=3.1,
            largest_net_force=1.1,
            energy_window=(-0.67, 0.0),  # eV per atom
        )
        is None
    )


@pytest.mark.parametrize(
    ("label", "limits", "message"),
    [
        (Label(-2.0), {}, "the label has no forces, only energy"),
        (Label(-2.0, PULL[:2]), {}, "forces on 2 atoms, there are 3"),
        (Label(-2.0, 50 * PULL), {}, "the force on atom 0 (O) is 150 eV/A"),
        (Label(-2.0, PULL), {"largest_force": 2.9}, "more than 2.9"),
        (Label(-2.0, PULL), {"largest_net_force": 0.9}, "forces sum to 1 eV/A"),
        (
            Label(-2.0, PULL),
            {"energy_window": (-0.66, 0.0)},
            "energy -0.66667 eV per atom",
        ),
        (
            Label(2.0, PULL),
            {"energy_window": (-1.0, 0.0)},
            "energy 0.66667 eV per atom",
        ),
    ],
)
def test_a_label_beyond_a_limit_is_refused(label, limits, message):
    assert message in check_label(WATER, label, ("energy", "forces"), **limits)


def rattled_copper(energy_factor=1.0, force_factor=1.0, n_structures=12):
    structures, labels = [], {}
    for i in range(n_structures):
        atoms = bulk("Cu", cubic=True) * (2, 1, 1)
        atoms.rattle(0.05, seed=i)
        atoms.calc = EMT()
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        structures.append(atoms)
        labels[i, "emt"] = Label(energy_factor * energy, force_factor * forces)
    return LabelledDataset(tuple(structures), (Fidelity("emt"),), labels)


def test_energies_and_forces_of_one_potential_agree():
    assert check_units(rattled_copper(), "emt") is None


@pytest.mark.faults
@pytest.mark.parametrize(
    ("energy_factor", "force_factor", "slope"),
    [(1 / 27.2114, 1.0, 0.0367), (27.2114, 1.0, 27.2), (1.0, -1.0, -1.0), (1, 2, 0.5)],
    ids=["energy in Hartree", "force in Hartree", "gradient", "twice the force"],
)
def test_wrong_units_and_signs_are_seen(energy_factor, force_factor, slope):
    reason = check_units(rattled_copper(energy_factor, force_factor), "emt")
    assert float(reason.split(" change ")[1].split()[0]) == pytest.approx(
        slope, rel=0.1
    )


def test_there_is_no_verdict_on_units_from_structures_far_apart():
    data = rattled_copper(energy_factor=27.2)
    assert check_units(data, "emt", largest_step=0.01) is None
    assert check_units(data.subset(range(3)), "emt") is None
