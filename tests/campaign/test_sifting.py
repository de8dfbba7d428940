"""What exploration gathers: new, physical, not nearly known, and not too many."""

import numpy as np
import pytest
import torch
from ase.build import bulk

from mfal.calculators.exploring import Flagged
from mfal.campaign.sifting import distance, fingerprint, neighbour_distance, sift
from mfal.data.checks import check_structure
from mfal.models.environment_rows import WHOLE, EnvironmentRows


def as_positions(atoms):
    """Environments whose features are the positions of the atoms."""
    values = torch.from_numpy(atoms.positions.copy())
    n = len(atoms)
    return EnvironmentRows(values, values, torch.ones(n).long(), torch.arange(n))


def shifted(x, y=0.0):
    """A cube whose mean feature is displaced by so much."""
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True)
    atoms.positions += [x, y, 0.0]
    return atoms


POOL = [shifted(x) for x in (0.0, 1.0, 2.0, 3.0)]  # the neighbours are 1 apart


def sifted(*candidates, closest=0.5, most=10, gate=lambda atoms: None):
    flagged = [Flagged(shifted(*c[:-1]), c[-1]) for c in candidates]
    return sift(flagged, POOL, as_positions, gate, closest=closest, most=most)


def places(found):
    return [round(float(a.positions[0, 0]), 6) for a in found.kept]


def refused(found, **expected):
    return {k: n for k, n in found.refused.items() if n} == expected


def test_the_largest_grades_come_first():
    found = sifted((7.0, 1.0), (9.0, 3.0), (8.0, 2.0), most=2)
    assert places(found) == [9.0, 8.0]
    assert refused(found, surplus=1)


def test_near_duplicates_of_the_pool_and_of_each_other_are_left_out():
    found = sifted((3.4, 4.0), (3.6, 3.0), (3.9, 2.0), (4.2, 1.0))
    assert places(found) == [3.6, 4.2]
    assert refused(found, alike=2)


def test_without_a_least_distance_only_what_is_known_to_the_digit_is_left_out():
    found = sifted((3.0, 4.0), (3.001, 3.0), (3.001, 2.0), closest=0.0)
    assert places(found) == [3.001]
    assert refused(found, known=2)


def test_what_the_gate_refuses_is_counted_with_its_words():
    def gate(atoms):
        return "too far" if atoms.positions[0, 0] > 8 else None

    found = sifted((9.0, 2.0), (7.0, 1.0), gate=gate)
    assert places(found) == [7.0]
    assert refused(found, unphysical=1)
    assert found.unphysical == ["too far"]


def test_coincident_atoms_are_refused_by_the_gate_of_structures():
    atoms = shifted(7.0)
    atoms.positions[1] = atoms.positions[0]
    gate = lambda a: check_structure(a, multiplicity=None)  # noqa: E731
    found = sift([Flagged(atoms, 1.0)], POOL, as_positions, gate, closest=0.5, most=5)
    assert found.kept == []
    assert "apart" in found.unphysical[0]


def test_nothing_flagged_keeps_nothing():
    found = sifted()
    assert found.kept == []
    assert refused(found)


def test_neighbours_are_at_the_median_distance():
    prints = [torch.tensor([[x]]).double() for x in (0.0, 1.0, 3.0, 10.0)]
    assert neighbour_distance(prints) == pytest.approx(1.0)  # of 1, 1, 2, 7: the lower
    assert neighbour_distance(prints[:1]) == 0.0


def test_a_molecule_is_compared_in_its_nearest_order():
    orders = torch.tensor([[1.0, 2.0], [2.0, 1.0]]).double()
    turned = torch.tensor([[2.0, 1.1], [1.1, 2.0]]).double()
    assert distance(orders, turned) == pytest.approx(0.1)

    def whole(atoms):
        n = len(orders)
        return EnvironmentRows(
            orders, orders, torch.zeros(n).long(), torch.full((n,), WHOLE)
        )

    assert torch.equal(fingerprint(whole, shifted(0.0)), orders)


def test_the_fingerprint_of_a_crystal_does_not_know_the_order_of_atoms():
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True)
    atoms.rattle(0.1, seed=1)
    swapped = atoms[[2, 0, 3, 1]]
    one, other = (fingerprint(as_positions, a) for a in (atoms, swapped))
    np.testing.assert_allclose(one, other, atol=1e-12)
