"""Labels for a list of structures, in a run that can be killed and run again."""

from dataclasses import replace

import pytest
from ase import Atoms
from ase.build import molecule

from mfal import Fidelity
from mfal.oracles import LabelRequest, LabelResult, label_structure
from mfal.oracles.naming import level_of, named_specification
from mfal.oracles.sweep import label_structures

GFN2 = level_of("gfn2", named_specification("gfn2"))


@pytest.fixture
def waters():
    found = [molecule("H2O") for _ in range(3)]
    for seed, atoms in enumerate(found):
        atoms.rattle(0.05, seed=seed)
    return found


@pytest.fixture
def spool(tmp_path):
    return tmp_path / "spool"


def expected(atoms, fidelity=GFN2):
    return label_structure(LabelRequest.of("x", atoms, fidelity)).label


def test_every_structure_gets_the_label_of_the_oracle(waters, spool):
    settled = []
    sweep = label_structures(waters, GFN2, spool, n_workers=2, on_result=settled.append)
    for i, atoms in enumerate(waters):
        assert sweep.labels[i].agrees_with(expected(atoms))
    assert settled == [0, 1, 2, 3]
    assert not sweep.failures
    assert sweep.seconds > 0
    assert sweep.summary.startswith("3 of 3 structures labelled at gfn2 in")
    assert sweep.dataset().n_labels()["gfn2"] == {"energy": 3, "forces": 3, "stress": 0}


def test_what_is_in_the_spool_is_not_computed_again(waters, spool):
    label_structures(waters[:2], GFN2, spool)
    for path in spool.glob("*.json"):  # a mark that a new computation would not give
        stored = LabelResult.from_json(path.read_text())
        marked = replace(stored, label=replace(stored.label, energy=-1.0))
        path.write_text(marked.to_json())
    sweep = label_structures(waters, GFN2, spool)
    assert [sweep.labels[i].energy == -1.0 for i in range(3)] == [True, True, False]
    assert sweep.n_known == 2
    assert "(2 from an earlier run)" in sweep.summary


def test_the_spool_of_another_level_is_not_taken(waters, spool):
    label_structures(waters, level_of("gfn2", named_specification("gfn1")), spool)
    sweep = label_structures(waters, GFN2, spool)
    assert sweep.n_known == 0
    assert sweep.labels[0].agrees_with(expected(waters[0]))


def test_a_structure_that_fails_costs_only_itself(waters, spool):
    waters[1] = Atoms("OHH", [[0, 0, 0], [0, 0, 0.1], [0, 1, 0]])
    sweep = label_structures(waters, GFN2, spool)
    assert set(sweep.labels) == {0, 2}
    assert sweep.failures[1].kind == "unphysical_structure"
    assert len(sweep.dataset()) == 2
    assert sweep.dataset().labels[1, "gfn2"].agrees_with(expected(waters[2]))


def test_a_label_that_does_not_converge_is_tried_in_another_way(waters, spool):
    short = {"code": "tblite", "method": "GFN2-xTB", "max_iterations": 6}
    hard = Fidelity("gfn2", short)
    assert expected(waters[0], hard) is None
    assert label_structures(waters[:1], hard, spool, attempts=1).failures
    # counted on from the attempt in the spool, with four times the iterations
    assert label_structures(waters[:1], hard, spool, attempts=1).labels


def test_an_element_that_the_level_does_not_know_is_refused_before_any_work(spool):
    with pytest.raises(ValueError, match="EMT knows"):
        label_structures([molecule("NaCl")], Fidelity("emt", {"code": "emt"}), spool)
    assert not spool.exists()


def test_an_odd_number_of_electrons_is_refused_before_any_work(waters, spool):
    with pytest.raises(ValueError, match=r"structure 1: 9 electrons .* multiplicity"):
        label_structures([waters[0], molecule("OH")], GFN2, spool)
    assert not spool.exists()


def test_a_structure_that_stands_twice_is_refused(waters, spool):
    with pytest.raises(ValueError, match="structures 0 and 3 are the same"):
        label_structures([*waters, waters[0]], GFN2, spool)
