"""Structures become rows: nothing of the forces is lost, F = -dE/dr."""

import numpy as np
import pytest
import textbook
import torch
from ase import Atoms
from ase.build import molecule
from small_models import BOTH, MIXED, F, internal, observations_of, water, water_dataset
from torch.func import jacrev

from mfal import Fidelity, Label, LabelledDataset
from mfal.descriptors import InverseDistances
from mfal.models.observations import (
    ENERGY,
    FORCES,
    RowBuilder,
    matching_rows,
    observe,
    reference_energies,
)


def builder_of(atoms):
    return RowBuilder(InverseDistances(atoms.get_chemical_symbols()))


def rattled(name):
    atoms = molecule(name)
    atoms.rattle(0.05, seed=0)
    return atoms


def along_the_axis(atoms):
    """Forces of stretches of a linear molecule."""
    forces = np.zeros((len(atoms), 3))
    axis = np.ptp(atoms.positions, axis=0).argmax()
    forces[:, axis] = np.arange(len(atoms)) ** 2.0
    return forces - forces.mean(axis=0)


@pytest.mark.parametrize(
    ("atoms", "directions"),
    [(rattled("H2O"), 3), (rattled("CH3OH"), 12), (rattled("CH3CH2OH"), 21)],
    ids=["water", "methanol", "ethanol"],
)
def test_forces_without_net_force_and_torque_are_kept(atoms, directions):
    block = builder_of(atoms)(atoms, 0, F)
    u = block.basis.numpy()
    forces = internal(atoms, np.random.default_rng(0)).ravel()
    np.testing.assert_allclose(u @ (u.T @ forces), forces, atol=1e-12)
    np.testing.assert_allclose(u.T @ u, np.eye(directions), atol=1e-12)


@pytest.mark.parametrize(("name", "directions"), [("H2", 1), ("CO2", 2), ("C2H2", 3)])
def test_a_linear_molecule_keeps_the_forces_along_its_axis(name, directions):
    """Bending forces vanish by symmetry: n - 1 stretches are left."""
    atoms = molecule(name)
    u = builder_of(atoms)(atoms, 0, F).basis.numpy()
    assert u.shape == (3 * len(atoms), directions)
    forces = along_the_axis(atoms).ravel()
    np.testing.assert_allclose(u @ (u.T @ forces), forces, atol=1e-12)


def test_rows_are_the_energy_and_minus_the_slope_along_the_basis():
    atoms = water(0)
    block = builder_of(atoms)(atoms, 1, BOTH)
    slope = jacrev(textbook.inverse_distances)(torch.tensor(atoms.positions)).flatten(1)
    torch.testing.assert_close(block.rows.direction[1:], -(slope @ block.basis).T)
    torch.testing.assert_close(block.rows.direction[0], torch.zeros(3).double())
    assert block.rows.weight.tolist() == [1, 0, 0, 0]
    assert block.quantity.tolist() == [ENERGY, FORCES, FORCES, FORCES]
    assert block.rows.level.tolist() == [1]


@pytest.mark.parametrize("quantities", [("energy",), F, BOTH])
def test_the_same_directions_are_taken_every_time(quantities):
    """Rows at two levels are paired by order: also where singular values coincide."""
    atoms = molecule("CH4")
    build = builder_of(atoms)
    first = build(atoms, 0, quantities)
    for level in range(20):
        again = build(atoms.copy(), level, quantities)
        assert torch.equal(again.basis, first.basis)
        assert torch.equal(again.rows.direction, first.rows.direction)


def test_a_label_is_observed_along_the_rows():
    atoms = water(0)
    block = builder_of(atoms)(atoms, 0, BOTH)
    forces = internal(atoms, np.random.default_rng(1))
    label = Label(-2000.25, forces, sigma={"energy": 0.2, "forces": 0.3})
    values = block.observed(label, -2000.0)
    assert float(values[0]) == pytest.approx(-0.25)
    back = (block.basis @ values[1:]).numpy()
    np.testing.assert_allclose(back, forces.ravel(), atol=1e-12)
    assert block.label_variance(label).tolist() == pytest.approx([0.04, *[0.09] * 3])


def test_species_are_counted_in_alphabetical_order():
    builder = builder_of(molecule("CH3CH2OH"))
    assert builder.species == ("C", "H", "O")
    assert builder.counts.tolist() == [2, 6, 1]


def test_observations_stand_by_level_and_structure():
    data = observations_of(water_dataset(MIXED[3]))
    assert data.level == (0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2)
    assert data.structure == (0, 1, 2, 3, 0, 3, 4, 0, 1, 3, 5)
    assert len(data) == 4 + 3 + 1 + 4 + 4 + 3 + 4 + 1 + 4 + 4 + 3
    assert data.n_atoms.tolist() == [3] * len(data)
    sizes = [4, 3, 1, 4, 4, 3, 4, 1, 4, 4, 3]
    expected = [lev for lev, n in zip(data.level, sizes, strict=True) for _ in range(n)]
    assert data.row_level.tolist() == expected


def test_values_are_the_labels_relative_to_the_reference():
    dataset = water_dataset(MIXED[2])
    data = observations_of(dataset)
    builder = builder_of(dataset.structures[0])
    zero = [float(data.reference[k] @ builder.counts) for k in range(2)]
    for block, (structure, level) in enumerate(
        zip(data.structure, data.level, strict=True)
    ):
        label = dataset.label(structure, dataset.levels[level])
        part = builder(dataset.structures[structure], level, label.quantities)
        start, stop = data.rows.starts[block], data.rows.starts[block + 1]
        torch.testing.assert_close(
            data.values[start:stop], part.observed(label, zero[level])
        )


def test_pairs_are_the_rows_of_one_observable_at_two_levels():
    data = observations_of(water_dataset(MIXED[3]))
    names = list(
        zip(
            [data.structure[int(e)] for e in data.rows.environment],
            data.quantity.tolist(),
            component(data),
            strict=True,
        )
    )
    expected = {
        (i, j)
        for i, a in enumerate(names)
        for j, b in enumerate(names)
        if a == b and i > j
    }
    assert len(expected) == 6 + 3 + 10  # of the structures 0, 1 and 3
    assert set(map(tuple, data.pairs.T.tolist())) == expected
    assert data.pairs.shape[1] == len(expected)


def component(data):
    """Number of each row among those of its label and quantity."""
    rows = list(
        zip(data.rows.environment.tolist(), data.quantity.tolist(), strict=True)
    )
    return [rows[:k].count(row) for k, row in enumerate(rows)]


def test_unpaired_labels_have_no_pairs():
    data = observations_of(water_dataset([(0, 0, BOTH), (1, 1, BOTH)]))
    assert data.pairs.shape == (2, 0)


def test_chosen_blocks_keep_their_rows():
    data = observations_of(water_dataset(MIXED[3]))
    chosen = data.blocks([7, 2])
    assert (chosen.structure, chosen.level) == ((0, 2), (2, 0))
    starts = data.rows.starts
    rows = [starts[7], starts[2]]
    for name in ("values", "quantity", "n_atoms", "label_variance"):
        assert torch.equal(getattr(chosen, name), getattr(data, name)[rows])
    assert torch.equal(chosen.rows.direction, data.rows.direction[rows])


def test_rows_match_by_quantity():
    left, right = torch.tensor([ENERGY, FORCES, FORCES]), torch.tensor([FORCES, FORCES])
    i, j = matching_rows(left, right)
    assert (i.tolist(), j.tolist()) == ([1, 2], [0, 1])
    i, j = matching_rows(torch.tensor([ENERGY]), right)
    assert (i.tolist(), j.tolist()) == ([], [])


def test_reference_energies_are_the_shortest_least_squares_solution():
    dataset = water_dataset([(0, 0, BOTH), (1, 0, BOTH), (2, 0, BOTH), (0, 1, F)])
    builder = builder_of(dataset.structures[0])
    reference = reference_energies(dataset, builder)
    mean = np.mean([dataset.label(i, "low").energy for i in range(3)])
    counts = np.array([2.0, 1.0])  # H, O
    np.testing.assert_allclose(reference[0], counts * mean / (counts @ counts))
    assert reference[1].tolist() == [0, 0]


def with_stress():
    label = Label(0.0, stress=np.zeros(6))
    return LabelledDataset((water(0),), (Fidelity("low"),), {(0, "low"): label})


def other_molecule():
    label = {(1, "low"): Label(0.0)}
    return LabelledDataset((water(0), Atoms("H3")), (Fidelity("low"),), label)


@pytest.mark.parametrize(
    ("dataset", "rule"),
    [
        (
            LabelledDataset((water(0),), (Fidelity("low"),)),
            "no label: there is nothing",
        ),
        (with_stress(), "structure 0 has a stress at level 'low': .*isolated"),
        (other_molecule(), "in that order, got HHH"),
    ],
)
def test_what_the_model_cannot_describe_is_refused(dataset, rule):
    with pytest.raises(ValueError, match=rule):
        observe(dataset, builder_of(dataset.structures[0]))
