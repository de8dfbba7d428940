"""Blocks of features side by side, and the reference energies."""

import numpy as np
import pytest
import torch
from ase import Atoms
from small_cells import alloy, cell, cluster, random_dataset, small_soap

from mfal import Fidelity, Label, LabelledDataset
from mfal.descriptors.soap import Soap
from mfal.models.feature_map import FeatureMap, check_species, reference_energies
from mfal.models.features import LinearFeatures
from mfal.models.inducing import kernel_features

CU, AU = 29, 79
STRUCTURES = [alloy(0), alloy(1)]


def two_blocks():
    """A short and a long descriptor, and linear features of the long one."""
    short, far = small_soap("Cu", "Au", cutoffs=(2.8,)), small_soap("Cu", "Au")
    return FeatureMap(
        (CU, AU),
        (
            (short, kernel_features(short, STRUCTURES, 3)),
            (far, kernel_features(far, STRUCTURES, 4, zeta=3)),
            (far, LinearFeatures((CU, AU), far.size)),
        ),
    )


@pytest.mark.parametrize("make", [alloy, cluster, cell])
def test_rows_are_those_of_the_blocks_and_the_number_of_atoms(make):
    feature_map, atoms = two_blocks(), make(3)
    rows = feature_map.rows(atoms)
    volume = float(atoms.cell.volume) if atoms.pbc.all() else None
    parts = [f.rows(d(atoms), volume) for d, f in feature_map.parts]
    counts = [float((atoms.numbers == z).sum()) for z in (CU, AU)]
    zeros = torch.zeros(3 * len(atoms), 2).double()
    energy = torch.cat([*(p.energy for p in parts), torch.tensor(counts).double()])
    forces = torch.cat([*(p.forces for p in parts), zeros], dim=1)
    torch.testing.assert_close(rows.energy, energy)
    torch.testing.assert_close(rows.forces, forces)
    if volume is None:
        assert rows.stress is None
    else:
        stress = torch.cat([*(p.stress for p in parts), zeros[:6]], dim=1)
        torch.testing.assert_close(rows.stress, stress)


def test_blocks_name_the_scale_of_each_column():
    feature_map = two_blocks()
    sizes = [f.size for _, f in feature_map.parts]
    expected = np.repeat([0, 1, 2, -1], [*sizes, 2])
    assert feature_map.block.tolist() == expected.tolist()
    assert feature_map.size == len(expected)


def test_a_descriptor_of_two_blocks_is_computed_once(monkeypatch):
    far, calls = small_soap("Cu", "Au"), []
    linear = LinearFeatures((CU, AU), far.size)
    feature_map = FeatureMap((CU, AU), ((far, linear), (far, linear)))
    plain = Soap.__call__

    def counted(self, atoms):
        calls.append(self)
        return plain(self, atoms)

    monkeypatch.setattr(Soap, "__call__", counted)
    assert len(feature_map.environments(alloy(2))) == 2
    assert len(calls) == 1


def test_kernel_blocks_take_only_the_directions_that_they_use():
    feature_map = two_blocks()
    described = feature_map.environments(alloy(2))
    for (_, features), environments in zip(
        feature_map.parts[:2], described[:2], strict=True
    ):
        assert environments.projection is features.projection
    assert described[2].projection is None
    with pytest.raises(ValueError, match="projected for other features"):
        feature_map.parts[0][1].rows(described[1], None)


def test_a_layer_has_no_stress():
    atoms = alloy(0)
    atoms.pbc = [True, True, False]
    assert two_blocks().rows(atoms).stress is None


def test_unexplained_variance_is_the_sum_over_pairs_of_environments_of_each_block():
    feature_map, atoms = two_blocks(), alloy(5)
    expected = [float(f.unexplained(d(atoms)).sum()) for d, f in feature_map.parts]
    found = feature_map.unexplained(feature_map.environments(atoms))
    assert found.tolist() == pytest.approx(expected)
    assert expected[0] > 1e-4


@pytest.mark.parametrize("call", ["rows", "counts", "environments"])
def test_an_unknown_species_is_refused(call):
    with pytest.raises(ValueError, match="fitted to Cu, Au and knows nothing of Al, H"):
        getattr(two_blocks(), call)(Atoms("CuHAl", np.eye(3)))


def test_known_species_pass():
    check_species(alloy(0), (CU, AU))


@pytest.mark.parametrize("species", [(), (CU,)])
def test_a_map_of_nothing_is_refused(species):
    with pytest.raises(ValueError, match="species and at least one block"):
        FeatureMap(species, ())


def test_reference_energies_of_additive_energies_are_the_energies_per_species():
    dataset = random_dataset([(i, 0, ("energy",)) for i in range(4)])
    labels = {
        (i, "low"): Label(-3.5 * sum(a.numbers == CU) - 7.25 * sum(a.numbers == AU))
        for i, a in enumerate(dataset.structures)
    }
    found = reference_energies(dataset.with_labels(labels), (CU, AU))
    torch.testing.assert_close(found, torch.tensor([[-3.5, -7.25]]).double())


def test_reference_energies_are_weighted_least_squares():
    dataset = random_dataset([(i, 0, ("energy",)) for i in range(8)])
    counts = np.array(
        [[(a.numbers == z).sum() for z in (CU, AU)] for a in dataset.structures]
    )
    energies = np.array([dataset.label(i, "low").energy for i in range(8)])
    inverse = np.diag(1.0 / counts.sum(1))
    expected = np.linalg.solve(
        counts.T @ inverse @ counts, counts.T @ inverse @ energies
    )
    found = reference_energies(dataset, (CU, AU))
    np.testing.assert_allclose(found[0].numpy(), expected)


def test_one_composition_shares_its_energy_in_the_shortest_way():
    data = LabelledDataset(
        (alloy(0),), (Fidelity("low"), Fidelity("high")), {(0, "low"): Label(-10.0)}
    )
    found = reference_energies(data, (CU, AU))
    torch.testing.assert_close(found, torch.tensor([[-4.0, -2.0], [0.0, 0.0]]).double())
