"""Exported models, as metatomic's calculator runs them: the numbers of MfalCalculator."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet
from laws import (
    forces_are_minus_the_slope_of_the_energy,
    stress_is_the_slope_of_the_energy_with_strain,
)
from small_cells import alloy, cell, cluster, emt_dataset, small_map, structures_of

from mfal.calculators import MfalCalculator
from mfal.calculators.metatomic import export_metatomic
from mfal.descriptors import PairDistances
from mfal.models import LinearPotential, SparsePotential, calibrated_weights, gathering
from mfal.models.feature_map import FeatureMap
from mfal.models.features import LinearFeatures

pytest.importorskip("metatomic.torch", reason="needs mfal[engines]")
metatomic_ase = pytest.importorskip("metatomic_ase")

LEVELS = ("low", "high")
QUERIES = {
    "crystal": cell(100),
    "alloy": alloy(101),
    "molecule": cluster(102),
    "larger": alloy(103) * (2, 1, 2),
}


def sparse(**options):
    structures = structures_of(12)
    return SparsePotential.fit(
        emt_dataset(structures, LEVELS), small_map(structures, 12, **options)
    )


def two_cutoffs():
    return calibrated_weights(sparse(cutoffs=(3.5, 4.5), zeta=4))


def beside_pairs():
    structures = structures_of(12)
    descriptor = PairDistances(["Cu", "Au"], cutoff=4.0, n_centres=5)
    known = small_map(structures, 12)
    block = (descriptor, LinearFeatures(known.species, descriptor.size))
    return SparsePotential.fit(
        emt_dataset(structures, LEVELS),
        FeatureMap(known.species, (*known.parts, block)),
    )


def linear():
    structures = structures_of(12)
    return LinearPotential.fit(
        emt_dataset(structures, LEVELS), small_map(structures).parts[0][0]
    )


def few_bars():
    """Sigmas from the first five points."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gathering, "BAR_POINTS", 5)
        model = calibrated_weights(sparse())
        assert model.bars is not None
    return model


MODELS = {f.__name__: f for f in (two_cutoffs, beside_pairs, linear, few_bars)}


@pytest.fixture(scope="module", params=MODELS)
def exported(request, tmp_path_factory):
    """A potential of each kind, and the file it was written to."""
    model = MODELS[request.param]()
    path = tmp_path_factory.mktemp("exported") / "model.pt"
    export_metatomic(model, path)
    return model, path


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("file") / "model.pt"
    export_metatomic(sparse(), path)
    return path


def engine(path, **options):
    """Metatomic's calculator with all of its checks."""
    options = {"uncertainty_threshold": None, "check_consistency": True, **options}
    return metatomic_ase.MetatomicCalculator(path, **options)


def outputs(path, atoms, name, kind="system", selected=None):
    """One output of one or more structures."""
    from metatensor.torch import Labels
    from metatomic.torch import ModelOutput

    if selected is not None:
        selected = Labels(["system", "atom"], torch.tensor(selected, dtype=torch.int32))
    asked = {name: ModelOutput(unit="eV", sample_kind=kind)}
    found = engine(path).run_model(atoms, asked, selected)[name]
    return found.block().values.detach().numpy()[:, 0]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("query", QUERIES)
def test_results_are_those_of_mfal(exported, query, level):
    model, path = exported
    one, other = QUERIES[query].copy(), QUERIES[query].copy()
    one.calc = MfalCalculator(model, level=level)
    other.calc = engine(path, variants={"energy": level})
    assert other.get_potential_energy() == pytest.approx(
        one.get_potential_energy(), abs=1e-6
    )
    np.testing.assert_allclose(other.get_forces(), one.get_forces(), atol=1e-6)
    if one.pbc.all():
        np.testing.assert_allclose(other.get_stress(), one.get_stress(), atol=1e-6)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("query", QUERIES)
def test_uncertainties_are_those_of_mfal(exported, query, level):
    model, path = exported
    atoms = QUERIES[query].copy()
    calculator = MfalCalculator(model, level=level)
    calculator.calculate(atoms)
    found = outputs(path, atoms, f"energy_uncertainty/{level}")
    expected = calculator.results["energy_uncertainty"]
    assert expected > 1e-4
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", ["energy", "energy_uncertainty"])
def test_the_highest_level_is_the_default(exported, name):
    _, path = exported
    atoms = QUERIES["alloy"]
    assert outputs(path, atoms, name) == outputs(path, atoms, f"{name}/high")
    assert outputs(path, atoms, name) != outputs(path, atoms, f"{name}/low")


def test_energies_of_atoms_add_up(exported):
    _, path = exported
    atoms = QUERIES["alloy"]
    each = outputs(path, atoms, "energy", "atom")
    assert each.shape == (3,)
    assert each.sum() == pytest.approx(outputs(path, atoms, "energy")[0], abs=1e-10)


def test_sigma_of_an_atom_is_that_of_the_atom_selected_alone(exported):
    _, path = exported
    atoms = QUERIES["alloy"]
    each = outputs(path, atoms, "energy_uncertainty", "atom")
    alone = outputs(path, atoms, "energy_uncertainty", selected=[[0, 1]])
    assert each[1] == pytest.approx(alone[0], rel=1e-6)


def test_selected_atoms_have_the_energies_that_they_have_among_all(exported):
    _, path = exported
    atoms = QUERIES["larger"]
    each = outputs(path, atoms, "energy", "atom")
    some = outputs(path, atoms, "energy", "atom", selected=[[0, 7], [0, 2]])
    np.testing.assert_allclose(some, each[[7, 2]], atol=1e-10)
    together = outputs(path, atoms, "energy", selected=[[0, 7], [0, 2]])
    assert together == pytest.approx(each[[7, 2]].sum(), abs=1e-10)


def test_systems_together_are_as_each_alone(exported):
    _, path = exported
    several = list(QUERIES.values())
    for name in ("energy/low", "energy_uncertainty"):
        alone = np.concatenate([outputs(path, atoms, name) for atoms in several])
        np.testing.assert_allclose(outputs(path, several, name), alone, atol=1e-9)


def test_systems_without_selected_atoms_are_left_out(file):
    several = [QUERIES["crystal"], QUERIES["alloy"]]
    found = outputs(file, several, "energy", selected=[[1, 0], [1, 1], [1, 2]])
    assert found == pytest.approx(outputs(file, several[1], "energy"), abs=1e-10)


def test_forces_and_stress_are_slopes_of_the_energy(exported):
    _, path = exported
    calculator = engine(path)

    def forces(atoms):
        return calculator.get_potential_energy(atoms), calculator.get_forces(atoms)

    def stress(atoms):
        return (*forces(atoms), calculator.get_stress(atoms))

    forces_are_minus_the_slope_of_the_energy(forces, alloy(7))
    stress_is_the_slope_of_the_energy_with_strain(stress, alloy(7))


def test_an_atom_alone_has_no_force(file):
    atom = Atoms("Cu", cell=[30, 30, 30], pbc=True)
    atom.calc = engine(file)
    np.testing.assert_array_equal(atom.get_forces(), np.zeros((1, 3)))


def test_dynamics_conserves_the_energy(tmp_path, copper):
    export_metatomic(copper, tmp_path / "copper.pt")
    atoms = cell(0, width=0.02) * (2, 2, 2)
    atoms.calc = engine(tmp_path / "copper.pt", check_consistency=False)
    thermalize_momenta(atoms, 100, rng=np.random.default_rng(0))
    dynamics = VelocityVerlet(atoms, timestep=2 * units.fs)
    energies, kinetic = [], []
    dynamics.attach(lambda: energies.append(atoms.get_total_energy()))
    dynamics.attach(lambda: kinetic.append(atoms.get_kinetic_energy()))
    dynamics.run(100)
    assert np.ptp(energies) < 0.02 * np.ptp(kinetic)


def test_a_species_that_the_model_does_not_know_is_refused(file):
    water = Atoms("OH", [[0, 0, 0], [0, 0, 1]])
    water.calc = engine(file, check_consistency=False)
    with pytest.raises(ValueError, match="does not support the atomic type"):
        water.get_potential_energy()


def test_uncertain_atoms_are_warned_of_by_the_engine(file):
    atoms = cell(3, width=0.9)
    atoms.calc = engine(file, uncertainty_threshold=1e-4)
    with pytest.warns(UserWarning, match="atomic energy uncertainties are larger"):
        atoms.get_potential_energy()


def test_names_of_levels_may_hold_slashes(tmp_path):
    structures = structures_of(6)
    levels = ("gfn2", "pbe/def2-svp")
    model = SparsePotential.fit(emt_dataset(structures, levels), small_map(structures))
    named = export_metatomic(model, tmp_path / "model.pt")
    assert named["energy"] == named["energy/pbe/def2-svp"] == "pbe/def2-svp"
    atoms = alloy(0)
    atoms.calc = engine(tmp_path / "model.pt", variants={"energy": "pbe/def2-svp"})
    expected = model.predict([atoms])[0].energy
    assert atoms.get_potential_energy() == pytest.approx(expected, abs=1e-6)


def test_the_file_needs_no_mfal(file):
    code = (
        "import sys; sys.modules['mfal'] = sys.modules['featomic'] = None\n"
        "from ase.build import bulk\n"
        "from metatomic_ase import MetatomicCalculator\n"
        "atoms = bulk('Cu', cubic=True)\n"
        f"atoms.calc = MetatomicCalculator({str(file)!r}, uncertainty_threshold=None)\n"
        "sys.exit(0 if abs(atoms.get_stress()).max() > 0 else 3)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_export_replaces_the_file_and_leaves_nothing_else(tmp_path, copper):
    path = tmp_path / "new" / "model.pt"
    export_metatomic(copper, path)
    export_metatomic(copper, path)
    assert [p.name for p in path.parent.iterdir()] == ["model.pt"]


def test_an_exact_potential_is_refused(tmp_path, potential):
    with pytest.raises(TypeError, match="fit a sparse potential"):
        export_metatomic(potential, tmp_path / "model.pt")
