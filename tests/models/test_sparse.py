"""Sparse and linear potentials: the laws, and the posterior of a dense Gaussian."""

from functools import cache

import laws
import numpy as np
import pytest
import textbook
import torch
from ase import Atoms
from small_cells import (
    ALL,
    APART,
    EF,
    NESTED,
    PARTLY,
    QUANTITIES,
    Dense,
    E,
    alloy,
    cell,
    cluster,
    emt_dataset,
    hyperparameters,
    inherited_noise,
    random_dataset,
    small_map,
    small_soap,
    structures_of,
)

from mfal import Fidelity, Label, LabelledDataset
from mfal.descriptors.soap import Soap
from mfal.models.calibration import Recalibration
from mfal.models.feature_map import FeatureMap, reference_energies
from mfal.models.features import KernelFeatures, normalised
from mfal.models.gathering import gather
from mfal.models.inducing import pivoted_cholesky
from mfal.models.sparse import (
    LinearPotential,
    SparsePotential,
    Training,
    calibrated_weights,
    default_soap,
    nearest_neighbour,
    training_keys,
)
from mfal.models.weight_fit import WeightFit

TRAINING = [*(alloy(k) for k in range(4)), *(cell(k) for k in range(2)), cluster(0)]


@cache
def fitted(kind):
    """Crystals, alloys and a molecule with labels of EMT."""
    dataset = emt_dataset(TRAINING)
    if kind == "linear":
        return LinearPotential.fit(dataset, small_soap("Cu", "Au"))
    return SparsePotential.fit(dataset, small_map(TRAINING, 12))


@pytest.fixture(params=["sparse", "linear"])
def model(request):
    return fitted(request.param)


def calculated(model):
    def calculate(atoms):
        found = model.mean([atoms])[0]
        return found.energy, found.forces, found.stress

    return calculate


def energy_and_forces(model):
    return lambda atoms: calculated(model)(atoms)[:2]


def primitive():
    """One atom that sees only its own images."""
    return Atoms("Cu", cell=[[0, 1.9, 2.0], [1.8, 0, 1.9], [1.8, 2.0, 0]], pbc=True)


def layer():
    atoms = alloy(11)
    atoms.pbc = [True, True, False]
    return atoms


STRUCTURES = {
    "crystal": lambda: cell(9),
    "alloy": lambda: alloy(9),
    "molecule": lambda: cluster(9),
    "layer": layer,
}


@pytest.fixture(params=STRUCTURES)
def atoms(request):
    return STRUCTURES[request.param]()


# --- laws


def test_forces_are_minus_the_slope_of_the_energy(model, atoms):
    laws.forces_are_minus_the_slope_of_the_energy(energy_and_forces(model), atoms)


@pytest.mark.parametrize("make", [lambda: cell(9), lambda: alloy(9), primitive])
def test_stress_is_the_slope_of_the_energy_with_strain(model, make):
    laws.stress_is_the_slope_of_the_energy_with_strain(calculated(model), make())


def test_forces_sum_to_zero(model, atoms):
    laws.net_force_vanishes(calculated(model), atoms)


def test_a_molecule_feels_no_torque(model):
    laws.net_force_and_torque_vanish(energy_and_forces(model), cluster(9))


@pytest.mark.parametrize("make", [lambda: cell(9), lambda: alloy(9), primitive])
@pytest.mark.parametrize("repeats", [(2, 1, 1), (1, 2, 2)])
def test_a_supercell_has_as_many_times_the_energy(model, make, repeats):
    laws.energy_is_extensive(calculated(model), make(), repeats)


def test_energies_are_smooth_at_the_cutoff(model):
    laws.energy_is_smooth_at_the_cutoff(calculated(model), "CuAu", 3.5)


def as_molecules(prediction):
    """One structure as a batch of one, for the laws."""

    class Batch:
        energy = np.array([prediction.energy])
        energy_sigma = np.array([prediction.energy_sigma])
        energy_noise = np.array([prediction.energy_noise])
        forces = prediction.forces[None]
        forces_sigma = prediction.forces_sigma[None]
        forces_noise = prediction.forces_noise[None]

    return Batch


def voigt_matrix(stress):
    xx, yy, zz, yz, xz, xy = stress
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])


def test_a_prediction_turns_with_the_structure(model, atoms):
    moved, matrix = laws.rotated(atoms)
    one, other = model.predict([atoms, moved])
    laws.prediction_turns_with_the_molecule(
        as_molecules(one), as_molecules(other), matrix
    )
    if one.stress is not None:
        turned = matrix @ voigt_matrix(one.stress) @ matrix.T
        np.testing.assert_allclose(voigt_matrix(other.stress), turned, atol=1e-9)


def test_a_prediction_does_not_change_when_the_structure_is_shifted(model, atoms):
    one, other = model.predict([atoms, laws.translated(atoms)])
    laws.predictions_agree(as_molecules(one), as_molecules(other))


def test_a_prediction_is_permuted_with_the_atoms(model, atoms):
    permutation = np.random.default_rng(0).permutation(len(atoms))
    one, other = model.predict([atoms, laws.permuted(atoms, permutation)])
    laws.prediction_is_permuted_with_the_atoms(
        as_molecules(one), as_molecules(other), permutation
    )


def test_a_fit_comes_near_the_labels(model):
    dataset = emt_dataset(TRAINING)
    labels = [label.forces for _, _, label in dataset]
    found = model.mean(dataset.structures, "emt").forces
    error = np.concatenate(found) - np.concatenate(labels)
    assert np.sqrt(np.mean(error**2)) < 0.3 * np.std(np.concatenate(labels))


# --- one answer, two ways


def test_the_mean_is_that_of_the_prediction(model, atoms):
    for level in (None, "emt"):
        fast, slow = model.mean([atoms], level)[0], model.predict([atoms], level)[0]
        assert fast.energy == pytest.approx(slow.energy, abs=1e-8)
        np.testing.assert_allclose(fast.forces, slow.forces, atol=1e-8)
        assert (fast.stress is None) == (slow.stress is None)
        if fast.stress is not None:
            np.testing.assert_allclose(fast.stress, slow.stress, atol=1e-9)
        assert fast.energy_sigma is None


def known_model(dataset, feature_map, h, labels=None, kind=SparsePotential):
    """The model of some labels with hyperparameters that are known."""
    reference = reference_energies(labels or dataset, feature_map.species)
    found = gather(dataset, feature_map, reference)
    unknown = torch.full((len(h.rho),), float("nan"), dtype=torch.float64)
    return kind(
        feature_map,
        Training(
            dataset.fidelities, reference, dataset.n_labels(), training_keys(dataset)
        ),
        found.statistics,
        WeightFit(h, unknown, 0.0, True, None, 0),
        kept=found.kept,
    )


MAP = small_map(structures_of(4), 6)
QUERIES = [alloy(21), cell(21), cluster(21)]


def check_against_dense(model, dense, atoms, level, at_hand=None):
    """Means, sigmas and noises of all quantities."""
    name, n = model.levels[level], len(atoms)
    arguments = {}
    if at_hand is not None:
        low, label = at_hand
        arguments = {"at_hand": [label], "at_hand_level": model.levels[low]}
    found = model.predict([atoms], name, **arguments)[0]
    environments = model.feature_map.environments(atoms)
    c = textbook.recursion(model.hyperparameters.rho, level)
    below = -1 if at_hand is None else at_hand[0]
    left = sum(
        float(c[m] * s) ** 2 * float(u)
        for m in range(below + 1, level + 1)
        for s, u in zip(
            model.hyperparameters.scale[m],
            model.feature_map.unexplained(environments),
            strict=True,
        )
    )
    for quantity, (mean, variance) in dense.predict(atoms, level, at_hand).items():
        more = left if quantity == "energy" else 0.0
        np.testing.assert_allclose(
            np.ravel(getattr(found, quantity)), mean, rtol=1e-6, atol=1e-7
        )
        np.testing.assert_allclose(
            np.ravel(getattr(found, f"{quantity}_sigma")),
            np.sqrt(np.clip(variance, 0, None) + more),
            rtol=1e-5,
            atol=1e-7,
        )
        noise = inherited_noise(model.hyperparameters, level, quantity, n)
        if at_hand is not None:
            number = QUANTITIES.index(quantity)
            noise = float(model.hyperparameters.noise[level, number])
            noise *= np.sqrt(n) if quantity == "energy" else 1.0
        np.testing.assert_allclose(getattr(found, f"{quantity}_noise"), noise)


DATA = {"nested": NESTED, "partly": PARTLY, "apart": APART}


@pytest.mark.parametrize("atoms", QUERIES[::2], ids=["alloy", "molecule"])
@pytest.mark.parametrize(
    ("design", "n_levels", "level"),
    [("partly", 1, 0), ("nested", 2, 0), ("partly", 2, 1), ("apart", 3, 2)],
)
def test_a_prediction_is_that_of_one_dense_gaussian(design, n_levels, level, atoms):
    dataset, h = random_dataset(DATA[design][n_levels]), hyperparameters(n_levels)
    model = known_model(dataset, MAP, h)
    dense = Dense(dataset, MAP, model.training.reference, h)
    check_against_dense(model, dense, atoms, level)


@pytest.mark.parametrize("atoms", QUERIES[::2], ids=["alloy", "molecule"])
@pytest.mark.parametrize(
    ("design", "n_levels", "low", "level"),
    [
        ("nested", 2, 0, 1),
        ("partly", 2, 0, 1),
        ("apart", 2, 0, 1),
        ("nested", 3, 0, 2),
        ("partly", 3, 0, 2),
        ("partly", 3, 1, 2),
        ("apart", 3, 0, 1),
    ],
)
def test_a_prediction_at_hand_is_conditioned_on_the_label(
    design, n_levels, low, level, atoms
):
    dataset, h = random_dataset(DATA[design][n_levels]), hyperparameters(n_levels)
    model = known_model(dataset, MAP, h)
    dense = Dense(dataset, MAP, model.training.reference, h)
    rng = np.random.default_rng(5)
    stress = 0.05 * rng.normal(size=6) if atoms.pbc.all() else None
    label = Label(
        -3.4 * len(atoms) - low, 0.4 * rng.normal(size=(len(atoms), 3)), stress
    )
    check_against_dense(model, dense, atoms, level, (low, label))


def test_a_quantity_that_the_label_at_hand_lacks_is_predicted_standalone():
    model = known_model(random_dataset(NESTED[2]), MAP, hyperparameters(2))
    atoms = alloy(21)
    found = model.predict([atoms], at_hand=[Label(-10.0)])[0]
    alone = model.predict([atoms])[0]
    assert found.energy != alone.energy
    np.testing.assert_allclose(found.forces, alone.forces, atol=1e-12)
    np.testing.assert_allclose(found.forces_sigma, alone.forces_sigma)


def test_labels_that_are_added_give_what_fitting_all_at_once_gives():
    asked = [(i, 0, ALL if i < 3 else EF) for i in range(4)] + [(4, 0, ALL), (5, 0, E)]
    dataset, h = random_dataset(asked), hyperparameters(1)
    whole = known_model(dataset, MAP, h)
    labels = [(0, 1, 2), (3,), (4, 5)]
    parts = [dataset.subset(chosen) for chosen in labels]
    model = known_model(parts[0], MAP, h, labels=dataset)
    for part in parts[1:]:
        model = model.with_labels(part)
    assert isinstance(model, SparsePotential)
    assert model.training.n_labels == whole.training.n_labels
    assert model.training.keys == whole.training.keys
    for one, other in zip(model.predict(QUERIES), whole.predict(QUERIES), strict=True):
        laws.predictions_agree(as_molecules(one), as_molecules(other))
    one, other = (m.predict(QUERIES[:1])[0] for m in (model, whole))
    np.testing.assert_allclose(one.stress, other.stress, atol=1e-10)
    np.testing.assert_allclose(one.stress_sigma, other.stress_sigma, rtol=1e-8)


@pytest.mark.parametrize("n_levels", [1, 2])
def test_sigmas_never_grow_when_labels_are_added(n_levels):
    asked = NESTED[n_levels]
    dataset, h = random_dataset(asked), hyperparameters(n_levels)
    model = known_model(dataset, MAP, h)
    more = random_dataset(
        [(5, 0, EF), (6, n_levels - 1, ALL)], seed=1, n_levels=n_levels
    )
    after = model.with_labels(more)
    for atoms in QUERIES:
        before, now = (m.predict([atoms])[0] for m in (model, after))
        laws.variance_does_not_rise(as_molecules(before), as_molecules(now))


# --- the exact posterior


def aggregated(soap, structures, quantities):
    """Environment rows (b, v, q), their species, and the sums that make labels' rows."""
    b, v, q, species, sums, line = [], [], [], [], [], 0
    for atoms, wanted in zip(structures, quantities, strict=True):
        environments = soap(atoms)
        n, d = environments.values.shape
        jacobians = torch.stack([environments.jacobian(e) for e in range(n)])
        directions = {
            "energy": torch.zeros(n, 1, d).double(),
            "forces": -jacobians,
            "stress": None,
        }
        if environments.strain is not None:
            directions["stress"] = environments.strain / atoms.cell.volume
        for name in wanted:
            for row in directions[name].unbind(1):
                for e in range(n):
                    b.append(float(name == "energy"))
                    v.append(row[e])
                    q.append(environments.values[e])
                    species.append(int(environments.species[e]))
                    sums.append(line)
                line += 1
    matrix = torch.zeros(line, len(b)).double()
    matrix[sums, torch.arange(len(b))] = 1.0
    rows = torch.tensor(b).double(), torch.stack(v), torch.stack(q)
    return rows, torch.tensor(species), matrix


def dense_covariance(zeta, scale, one, other):
    """cov of labels' rows under the normalised dot-product kernel, by autodiff."""

    def kernel(q1, q2):
        return scale**2 * (q1 @ q2 / (q1.norm() * q2.norm())) ** zeta

    (rows1, species1, sums1), (rows2, species2, sums2) = one, other
    full = textbook.covariance(kernel, rows1, rows2)
    return sums1 @ (full * (species1[:, None] == species2)) @ sums2.T


def all_environments(soap, structures, zeta, most=None):
    """Features on every environment (or those that explain most, without the rest)."""
    values = torch.cat([soap.values(a) for a in structures])
    numbers = torch.from_numpy(np.concatenate([a.numbers for a in structures])).long()
    projection = torch.eye(soap.size).double()
    u, _ = normalised(values, projection)
    if most is not None:
        chosen = pivoted_cholesky(u, numbers, zeta, most)
        u, numbers = u[chosen], numbers[chosen]
    inducing = {int(z): u[numbers == z] for z in numbers.unique()}
    return FeatureMap(
        tuple(sorted(inducing)), ((soap, KernelFeatures(projection, inducing, zeta)),)
    )


def check_against_exact(feature_map, zeta, structures, queries, quantities):
    """Means and sigmas against a Gaussian process with the same kernel, dense."""
    soap = feature_map.parts[0][0]
    labels = {
        (i, "only"): emt_dataset([a]).label(0, "emt").only(quantities)
        for i, a in enumerate(structures)
    }
    dataset = LabelledDataset(tuple(structures), (Fidelity("only"),), labels)
    h = hyperparameters(1)
    model = known_model(dataset, feature_map, h)
    reference = model.training.reference[0]
    counts = torch.stack([feature_map.counts(a) for a in structures])
    data = aggregated(soap, structures, [labels[k].quantities for k in labels])
    gram = dense_covariance(zeta, h.scale[0, 0], data, data)
    values, noise, energy = [], [], []
    for atoms, label, own in zip(structures, labels.values(), counts, strict=True):
        for name in label.quantities:
            seen = np.ravel(getattr(label, name)).copy()
            if name == "energy":
                seen -= float(reference @ own)
            share = len(atoms) if name == "energy" else 1
            number = QUANTITIES.index(name)
            values.append(seen)
            noise.append(np.full(len(seen), share * float(h.noise[0, number]) ** 2))
            shown = own if name == "energy" else torch.zeros_like(own)
            energy.append(shown.expand(len(seen), -1))
    shown = torch.cat(energy)
    gram = gram + shown @ shown.T + torch.from_numpy(np.diag(np.concatenate(noise)))
    for atoms in queries:
        own = ALL if atoms.pbc.all() else EF
        query = aggregated(soap, [atoms], [own])
        rows = torch.zeros(len(query[2]), counts.shape[1]).double()
        rows[0] = feature_map.counts(atoms)
        cross = dense_covariance(zeta, h.scale[0, 0], query, data) + rows @ shown.T
        prior = dense_covariance(zeta, h.scale[0, 0], query, query) + rows @ rows.T
        mean, covariance = textbook.conditioned(
            prior.numpy(), cross.numpy(), gram.numpy(), np.concatenate(values)
        )
        mean[0] += float(reference @ rows[0])
        sigma = np.sqrt(np.diag(covariance))
        found = model.predict([atoms])[0]
        got = np.concatenate([np.ravel(getattr(found, name)) for name in own])
        np.testing.assert_allclose(got, mean, rtol=1e-6, atol=1e-6)
        assert found.energy_sigma == pytest.approx(sigma[0], rel=1e-6, abs=1e-6)
        if quantities != E:
            spread = [np.ravel(getattr(found, f"{name}_sigma")) for name in own]
            np.testing.assert_allclose(np.concatenate(spread), sigma, atol=1e-6)


@pytest.mark.parametrize("zeta", [1, 2])
def test_energies_on_all_their_environments_give_the_exact_process(zeta):
    """Means of all quantities, and the sigma of energies."""
    soap = small_soap("Cu", "Au", max_radial=2)
    structures = [alloy(0), alloy(1), cluster(0)]
    queries = [alloy(5), cluster(5)]
    feature_map = all_environments(soap, structures, zeta)
    check_against_exact(feature_map, zeta, structures, queries, E)


@pytest.mark.parametrize(("zeta", "size"), [(1, 4), (2, 10)])
def test_environments_that_span_the_kernel_give_the_exact_process(zeta, size):
    """Four directions have ten products of two: so many environments are the kernel,
    slopes and all, and every quantity agrees with every sigma."""
    soap = small_soap("Cu", max_radial=1, max_angular=3)
    assert soap.size == 4
    structures = [cell(k, width=0.5) for k in range(8)]
    feature_map = all_environments(soap, structures, zeta, size)
    assert feature_map.parts[0][1].size == size
    check_against_exact(feature_map, zeta, structures[:2], [cell(9)], ALL)


# --- odd structures, and what is refused


def test_an_isolated_atom_has_its_energy_and_no_force(model):
    found = model.predict([Atoms("Cu")])[0]
    assert np.isfinite([found.energy, found.energy_sigma]).all()
    assert np.abs(found.forces).max() < 1e-12
    assert found.stress is None
    assert model.mean([Atoms("Cu")])[0].energy == pytest.approx(found.energy)


def test_distant_atoms_are_isolated_ones(model):
    apart = Atoms("CuAu", [[0, 0, 0], [0, 0, 40]])
    both = model.mean([apart])[0].energy
    single = [p.energy for p in model.mean([Atoms("Cu"), Atoms("Au")])]
    assert both == pytest.approx(sum(single), abs=1e-9)


def test_a_lonely_atom_in_a_periodic_box_is_the_isolated_one(model):
    box = Atoms("Cu", cell=[15, 15, 15], pbc=True)
    found = model.predict([box])[0]
    assert found.energy == pytest.approx(model.mean([Atoms("Cu")])[0].energy, abs=1e-9)
    assert np.abs(found.stress).max() < 1e-12


def test_structures_of_any_size_are_predicted_together(model):
    structures = [cell(9), cluster(9), Atoms("Cu"), primitive(), layer()]
    together = model.predict(structures)
    assert [f.shape for f in together.forces] == [(len(a), 3) for a in structures]
    assert [s is None for s in together.stress] == [False, True, True, False, True]
    for atoms, found in zip(structures, together, strict=True):
        assert found.energy == pytest.approx(model.predict([atoms])[0].energy)


def test_a_single_isolated_atom_may_be_a_label():
    structures = [*TRAINING[:3], Atoms("Cu")]
    labels = dict(emt_dataset(structures[:3]).labels)
    labels[3, "emt"] = Label(-0.5, np.zeros((1, 3)))
    dataset = LabelledDataset(tuple(structures), (Fidelity("emt", {}, ALL),), labels)
    model = SparsePotential.fit(dataset, small_map(structures, 8))
    assert np.isfinite(model.predict([Atoms("Cu")])[0].energy)


@pytest.mark.parametrize("call", ["mean", "predict"])
def test_an_unknown_species_is_refused(model, call):
    rule = "fitted to Cu, Au and knows nothing of Al: add labelled"
    with pytest.raises(ValueError, match=rule):
        getattr(model, call)([cell(0), Atoms("CuAl", [[0, 0, 0], [2, 0, 0]])])


def test_labels_of_an_unknown_species_are_not_added(model):
    atoms = Atoms("Al2", [[0, 0, 0], [2.2, 0, 0]])
    dataset = LabelledDataset(
        (atoms,), (Fidelity("emt"),), {(0, "emt"): Label(energy=1.0)}
    )
    with pytest.raises(ValueError, match="knows nothing of Al"):
        model.with_labels(dataset)


def test_labels_of_other_levels_are_not_added(model):
    with pytest.raises(ValueError, match=r"has the levels \('emt',\), got \('low',\)"):
        model.with_labels(random_dataset([(0, 0, E)]))


def two_levels():
    return known_model(random_dataset(NESTED[2]), MAP, hyperparameters(2))


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"level": "best"}, "no level 'best' here"),
        ({"level": "low", "at_hand": [Label(-1.0)]}, "must be below 'low'"),
        ({"at_hand": []}, "one label at hand per structure: got 0 labels for 1"),
        (
            {"at_hand": [Label(-1.0)], "at_hand_level": "middle"},
            "must be below 'middle', got 'middle'",
        ),
    ],
)
def test_impossible_questions_are_refused(arguments, rule):
    with pytest.raises(ValueError, match=rule):
        two_levels().predict([alloy(0)], **arguments)


@pytest.mark.parametrize("kind", [SparsePotential, LinearPotential])
def test_without_labels_there_is_nothing_to_fit(kind):
    dataset = LabelledDataset((cell(0),), (Fidelity("emt"),), {})
    with pytest.raises(ValueError, match="no label: there is nothing to fit"):
        kind.fit(dataset)


# --- fits, defaults, recalibration


def test_a_fit_of_two_levels_knows_the_relation_between_them():
    """The upper level is 1.2 times the lower one."""
    dataset = emt_dataset(TRAINING, levels=("emt", "dear"))
    model = SparsePotential.fit(dataset, small_map(TRAINING, 12))
    h = model.hyperparameters
    assert float(h.rho) == pytest.approx(1.2, abs=0.02)
    assert model.fitted.ratio is not None
    label = emt_dataset([alloy(9)], levels=("emt", "dear")).labels
    found = model.predict([alloy(9)], at_hand=[label[0, "emt"]])[0]
    alone = model.predict([alloy(9)])[0]
    dear = label[0, "dear"]
    assert np.abs(found.forces - dear.forces).max() < 0.05
    assert (
        np.abs(found.forces - dear.forces).max()
        < 0.2 * np.abs(alone.forces - dear.forces).max()
    )
    assert (found.forces_sigma < alone.forces_sigma).all()


def test_a_fit_is_the_same_every_time():
    dataset = emt_dataset(TRAINING[:4])
    one, again = (SparsePotential.fit(dataset, small_map(TRAINING, 5)) for _ in "12")
    for name in ("scale", "noise"):
        assert torch.equal(
            getattr(one.hyperparameters, name), getattr(again.hyperparameters, name)
        )


def test_the_default_features_are_inducing_environments_on_power_spectra():
    dataset = emt_dataset(TRAINING[:3])
    model = SparsePotential.fit(dataset, n_inducing=4, zeta=3)
    ((descriptor, features),) = model.feature_map.parts
    assert isinstance(descriptor, Soap)
    assert (features.size, features.zeta) == (4, 3)
    assert set(model.seconds) == {"descriptors", "features", "hyperparameters"}
    assert model.seen("emt") == training_keys(dataset)["emt"]
    assert model.seen("nowhere") == frozenset()


def test_the_scale_of_the_density_follows_the_nearest_neighbours():
    apart = [Atoms("Cu2", [[0, 0, 0], [d, 0, 0]]) for d in (2.2, 2.5, 2.9)]
    assert nearest_neighbour(apart) == pytest.approx(2.5)
    dataset = LabelledDataset(tuple(apart), (Fidelity("emt"),), {})
    assert default_soap(dataset).specification()["scale"] == pytest.approx(2.125)
    assert nearest_neighbour([Atoms("Cu")]) == 2.0


def test_recalibration_scales_the_sigmas_of_its_way_of_deployment():
    model = two_levels()
    factors = {
        "standalone": Recalibration(2.0, 3.0, 4.0),
        "at_hand": Recalibration(5.0, 6.0, 7.0, 0.5, 0.6, 0.7),
    }
    scaled = model.with_recalibrations(factors)
    label = Label(-10.0, np.zeros((3, 3)), np.zeros(6))
    for mode, at_hand in (("standalone", None), ("at_hand", [label])):
        plain = model.predict([alloy(7)], at_hand=at_hand)[0]
        found = scaled.predict([alloy(7)], at_hand=at_hand)[0]
        raw = scaled.predict([alloy(7)], at_hand=at_hand, calibrated=False)[0]
        for name in QUANTITIES:
            own = factors[mode]
            each = (("sigma", own.on_sigma(name)), ("noise", own.on_noise(name)))
            for kind, factor in each:
                before = getattr(plain, f"{name}_{kind}")
                np.testing.assert_allclose(
                    getattr(found, f"{name}_{kind}"), factor * before
                )
                np.testing.assert_array_equal(getattr(raw, f"{name}_{kind}"), before)
            np.testing.assert_array_equal(getattr(found, name), getattr(plain, name))
    assert model.recalibrations == {}


def test_recalibration_takes_a_share_of_what_no_feature_carries():
    model = two_levels()
    sigmas = {}
    for share in (0.0, 0.3, 1.0):
        factor = Recalibration(energy=2.0, unexplained=share)
        scaled = model.with_recalibrations({"standalone": factor})
        sigmas[share] = scaled.predict([alloy(7)])[0].energy_sigma / 2.0
    left = sigmas[1.0] ** 2 - sigmas[0.0] ** 2
    assert left > 1e-3 * sigmas[1.0] ** 2
    assert sigmas[0.3] ** 2 - sigmas[0.0] ** 2 == pytest.approx(0.09 * left)


def test_a_calibrated_model_has_factors_for_each_way_of_deployment():
    asked = [(i, level, EF) for i in range(6) for level in (0, 1)]
    model = known_model(random_dataset(asked), MAP, hyperparameters(2))
    calibrated = calibrated_weights(model)
    assert set(calibrated.recalibrations) == {"standalone", "at_hand"}
    assert calibrated.recalibrations["at_hand"].forces != 1.0
