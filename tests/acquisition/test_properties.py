"""Properties are the linear combinations that their definitions say."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.emt import EMT

from mfal.acquisition import (
    Property,
    PropertyTerm,
    barrier,
    elastic_constant,
    energy_sum,
    formation_energy,
    reaction_energy,
    surface_energy,
    vacancy_formation_energy,
)

COUNTS = {"Cu": -3.5, "Au": -3.2, "O": -400.0, "H": -13.6, "C": -1000.0}


def emt(atoms):
    atoms = atoms.copy()
    atoms.calc = EMT()
    return atoms


def evaluated(one, energy=None):
    """The property with energies (and stresses) of EMT, or any function."""
    total = 0.0
    for term in one.terms:
        if term.quantity == "energy":
            e = emt(term.atoms).get_potential_energy() if energy is None else None
            value = np.array([e if energy is None else energy(term.atoms)])
        elif term.quantity == "forces":
            value = emt(term.atoms).get_forces().ravel()
        else:
            value = emt(term.atoms).get_stress()
        total += float(value @ term.weights)
    return total


def additive(atoms):
    """An energy without interaction: nothing is formed."""
    return sum(COUNTS[s] for s in atoms.get_chemical_symbols())


@pytest.fixture
def copper():
    return bulk("Cu", "fcc", a=3.61, cubic=True)


def test_a_formation_energy_is_per_atom_and_relative_to_the_elements(copper):
    gold = bulk("Au", "fcc", a=4.08)
    alloy = copper.copy()
    alloy.symbols[:1] = "Au"
    one = formation_energy("Cu3Au", alloy, {"Cu": copper, "Au": gold})
    assert evaluated(one, additive) == pytest.approx(0.0, abs=1e-12)
    e = [emt(a).get_potential_energy() for a in (alloy, copper, gold)]
    assert evaluated(one) == pytest.approx((e[0] - 3 * e[1] / 4 - e[2]) / 4)


def test_a_vacancy_energy_is_that_of_the_atom_taken_out(copper):
    whole = copper * (2, 2, 2)
    vacancy = whole.copy()
    del vacancy[5]
    one = vacancy_formation_energy("vacancy", vacancy, copper)
    assert evaluated(one, additive) == pytest.approx(0.0, abs=1e-10)
    # EMT's own value for unrelaxed copper is between 1 and 1.6 eV
    expected = emt(vacancy).get_potential_energy() - 31 / 32 * (
        emt(whole).get_potential_energy()
    )
    assert evaluated(one) == pytest.approx(expected)
    assert 1.0 < evaluated(one) < 1.6


def test_a_surface_energy_is_per_area_of_both_sides(copper):
    slab = fcc111("Cu", (2, 1, 4), a=3.61, vacuum=8.0)
    one = surface_energy("Cu(111)", slab, copper)
    assert evaluated(one, additive) == pytest.approx(0.0, abs=1e-12)
    a = 3.61 / np.sqrt(2)
    area = 2 * a * a * np.sqrt(3) / 2
    excess = emt(slab).get_potential_energy() - 2 * emt(copper).get_potential_energy()
    assert evaluated(one) == pytest.approx(excess / (2 * area))


def test_a_reaction_energy_is_that_of_products_less_reactants():
    h2, o2, water = molecule("H2"), molecule("O2"), molecule("H2O")
    one = reaction_energy("combustion", [h2, h2, o2], [water, water])
    energies = {"H2": 1.0, "O2": 10.0, "H2O": 100.0}
    found = evaluated(one, lambda a: energies[a.get_chemical_formula()])
    assert found == pytest.approx(2 * 100 - 2 * 1 - 10)


def test_a_barrier_is_the_way_up():
    low, high = molecule("H2O"), molecule("H2O")
    high.rattle(0.1, seed=0)
    found = evaluated(barrier("turn", low, high), lambda a: 3.0 if a == high else 1.0)
    assert found == 2.0


@pytest.mark.parametrize(("i", "j"), [(0, 0), (1, 0), (3, 3), (5, 5), (4, 0)])
def test_an_elastic_constant_is_the_slope_of_the_stress(copper, i, j):
    """Against a finer finite difference of EMT in all of Voigt's directions."""
    one = elastic_constant("C", copper, i, j, size=1e-3)
    strain = np.zeros((3, 3))
    a, b = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))[j]
    strain[a, b] += 0.5
    strain[b, a] += 0.5
    ends = []
    for size in (1e-4, -1e-4):
        atoms = copper.copy()
        atoms.set_cell(
            copper.cell.array @ (np.eye(3) + size * strain), scale_atoms=True
        )
        ends.append(emt(atoms).get_stress()[i])
    expected = (ends[0] - ends[1]) / 2e-4
    assert evaluated(one) == pytest.approx(expected, rel=2e-3, abs=1e-6)
    if i == j:
        assert evaluated(one) > 0.3  # eV/A^3, some 50 GPa: stiff, not soft


def test_what_is_no_property_is_refused(copper):
    water, o2 = molecule("H2O"), molecule("O2")
    with pytest.raises(ValueError, match="'nothing' has no terms"):
        Property("nothing", ())
    with pytest.raises(ValueError, match="'energy' with 2"):
        PropertyTerm(water, "energy", np.ones(2))
    with pytest.raises(ValueError, match="'dipole' with 3"):
        PropertyTerm(water, "dipole", np.ones(3))
    with pytest.raises(ValueError, match="needs a structure of pure Cu, got None"):
        formation_energy("Cu", copper, {})
    with pytest.raises(ValueError, match="needs a structure of pure Cu, got H2O"):
        formation_energy("Cu", copper, {"Cu": water})
    with pytest.raises(ValueError, match=r"one of an element, got \['H', 'O'\]"):
        vacancy_formation_energy("v", o2, water)
    with pytest.raises(
        ValueError, match="the composition of the bulk, got H2O and Cu4"
    ):
        surface_energy("s", water, copper)
    with pytest.raises(ValueError, match="has no area"):
        surface_energy("s", Atoms("Cu"), copper)
    with pytest.raises(ValueError, match="is not balanced"):
        reaction_energy("r", [o2], [water])
    with pytest.raises(ValueError, match="needs a crystal"):
        elastic_constant("C", water, 0, 0)


def test_a_sum_of_energies_has_its_weights():
    one = energy_sum("two", [(2.0, molecule("H2O")), (-0.5, molecule("O2"))])
    found = evaluated(one, lambda a: float(len(a)))
    assert found == pytest.approx(2 * 3 - 0.5 * 2)
