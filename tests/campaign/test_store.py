"""What is asked and told is what the store holds; contradictions are refused."""

import time

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st
from stored_campaign import (
    HIGH,
    LOW,
    POOL,
    VERSIONS,
    contents,
    finished,
    molecule,
    pool,
    result,
)

from mfal.campaign.database import StoreError
from mfal.campaign.records import decode_label, encode_label
from mfal.campaign.store import CampaignStore
from mfal.data import Fidelity, Label, structure_key


def test_structures_come_back_to_the_bit(store):
    stored = store.structures()
    assert [s.id for s in stored] == list(range(10))
    assert [(s.id, s.role) for s in stored] == POOL
    for i, structure in enumerate(stored):
        atoms = molecule(i)
        assert structure.key == structure_key(atoms)
        assert np.array_equal(structure.atoms.numbers, atoms.numbers)
        assert structure.atoms.positions.tobytes() == atoms.positions.tobytes()
        assert np.array_equal(structure.atoms.cell, atoms.cell)
        assert np.array_equal(structure.atoms.pbc, atoms.pbc)


def test_a_duplicate_in_the_pool_names_both_and_stores_none(tmp_path):
    with CampaignStore(tmp_path / "campaign.sqlite") as store:
        with pytest.raises(StoreError, match="structures 2 and 10"):
            store.add_structures([*pool(), (molecule(2), "heldout")])
        assert store.structures() == []


def test_a_pool_is_stored_once(store):
    with pytest.raises(StoreError, match="already holds a pool"):
        store.add_structures([(molecule(77), "candidate")])
    assert len(store.structures()) == len(POOL)


def test_an_unknown_role_is_refused(tmp_path):
    with (
        CampaignStore(tmp_path / "campaign.sqlite") as store,
        pytest.raises(ValueError, match="candidate, target, heldout"),
    ):
        store.add_structures([(molecule(0), "test")])


def test_a_step_asked_again_changes_nothing(store):
    info = {"lengthscale": 1 / 3, "levels": ["a", "b"], "none": None}
    requests = [(5, "b", "acquired", 1 / 3, 1e-300), (4, "a", "sweep", None, None)]
    ids = store.open_step(7, "acquire", info, requests)
    before = contents(store.path)
    assert store.open_step(7, "acquire", info, requests) == ids
    assert store.request_labels(7, requests) == ids
    store.begin_step(7, "acquire", info)
    assert contents(store.path) == before
    labels = store.labels(step=7)
    assert tuple(label.id for label in labels) == ids
    assert [
        (s.structure_id, s.level, s.purpose, s.gain, s.gain_per_cost) for s in labels
    ] == requests
    assert store.steps()[-1].info == info


@pytest.mark.parametrize(
    ("phase", "info", "requests"),
    [
        ("refine", {"x": 1.0}, [(4, "b", "acquired", 2.0, 1.0)]),
        ("acquire", {"x": 1.0 + 1e-15}, [(4, "b", "acquired", 2.0, 1.0)]),
        ("acquire", {"x": 1.0}, [(4, "b", "acquired", 2.0 + 1e-15, 1.0)]),
        ("acquire", {"x": 1.0}, [(4, "a", "acquired", 2.0, 1.0)]),
        ("acquire", {"x": 1.0}, [(5, "b", "acquired", 2.0, 1.0)]),
        ("acquire", {"x": 1.0}, []),
    ],
)
def test_another_step_under_the_same_number_is_refused(store, phase, info, requests):
    store.open_step(7, "acquire", {"x": 1.0}, [(4, "b", "acquired", 2.0, 1.0)])
    before = contents(store.path)
    with pytest.raises(StoreError, match="step 7"):
        store.open_step(7, phase, info, requests)
    assert contents(store.path) == before


def test_a_step_that_asked_for_nothing_does_not_ask_later(store):
    assert store.open_step(7, "fit", {}, []) == ()
    assert store.open_step(7, "fit", {}, []) == ()
    with pytest.raises(StoreError, match="asked for no label"):
        store.open_step(7, "fit", {}, [(4, "b", "acquired", 2.0, 1.0)])


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ((0, "a", "sweep"), r"label 1, asked in step 0 and done"),
        ((99, "a", "sweep"), "no such structure"),
        ((5, "a", "fun"), "pilot, sweep, acquired, validation"),
        ((5, "a", "sweep", float("nan")), "not a number"),
    ],
)
def test_one_bad_request_refuses_the_whole_step(store, request_, message):
    before = contents(store.path)
    with pytest.raises(ValueError, match=message):
        store.open_step(
            1, "sweep", {}, [(4, "a", "sweep"), request_, (4, "b", "sweep")]
        )
    assert contents(store.path) == before


def test_numpy_numbers_are_stored_as_numbers(store):
    requests = [(np.int64(5), "a", "acquired", np.float64(0.1), np.float32(0.5))]
    (label_id,) = store.open_step(1, "acquire", {}, requests)
    label = store.label(label_id)
    assert (label.structure_id, label.gain, label.gain_per_cost) == (5, 0.1, 0.5)


def test_a_step_is_finished_once_and_keeps_its_info(store):
    store.finish_step(0, {"mae": 1 / 3})
    store.finish_step(0, {"mae": 1 / 3})
    (step,) = store.steps()
    assert step.info == {"rho": 0.1 + 0.2, "mae": 1 / 3}
    assert (step.step, step.phase, step.state) == (0, "pilot", "finished")
    with pytest.raises(StoreError, match="already finished"):
        store.finish_step(0, {"mae": 0.5})
    with pytest.raises(StoreError, match="never begun"):
        store.finish_step(1, {})
    # a driver killed after finishing may open it again as it was
    requests = [(i, level, "pilot", None, None) for i in range(3) for level in "ab"]
    assert store.open_step(0, "pilot", {"rho": 0.1 + 0.2}, requests) == tuple(
        range(1, 7)
    )


def test_an_info_that_is_not_json_is_refused(store):
    with pytest.raises(ValueError, match="tolist"):
        store.begin_step(1, "acquire", {"x": np.zeros(2)})
    assert len(store.steps()) == 1


def test_a_result_comes_back_to_the_bit(store):
    rng = np.random.default_rng(3)
    label = Label(
        energy=-0.1 - 0.2,
        forces=rng.normal(size=(3, 3)) * 1e-20,
        stress=rng.normal(size=6),
        sigma={"energy": np.float64(1 / 3)},
    )
    assert store.record(3, label, 1.5, 2.5, "node7", VERSIONS)
    stored = store.label(3)
    assert stored.result.agrees_with(label)
    assert stored.result.sigma == {"energy": 1 / 3}
    assert (stored.state, stored.host, stored.versions) == ("done", "node7", VERSIONS)
    assert (stored.wall_seconds, stored.cpu_seconds, stored.attempts) == (1.5, 2.5, 1)
    assert stored.finished_at >= stored.requested_at


@pytest.mark.parametrize("quantity", ["energy", "forces", "stress"])
def test_a_label_with_one_quantity_comes_back(store, quantity):
    values = {"energy": 1.0, "forces": np.ones((3, 3)), "stress": np.ones(6)}
    label = Label(**{quantity: values[quantity]})
    store.record(3, label, 1.0, 1.0, "here", {})
    assert store.label(3).result.quantities == (quantity,)


def test_the_same_result_again_is_not_charged_again(store):
    before = contents(store.path)
    assert not store.record(1, result(1), 5.0, 5.0, "there", VERSIONS)
    assert contents(store.path) == before


@pytest.mark.parametrize(
    "other",
    [
        result(2),
        result(1).only(["energy"]),
        Label(energy=result(1).energy, forces=result(1).forces),
    ],
    ids=["values", "quantities", "sigma"],
)
def test_a_different_result_is_a_reported_conflict(store, other, caplog):
    before = store.label(1)
    assert not store.record(1, other, 5.0, 5.0, "there", VERSIONS)
    assert store.label(1).result.agrees_with(before.result)
    assert store.spent() == 4.0
    (event,) = store.events()
    assert (event.kind, event.label_id) == ("conflict", 1)
    assert "there" in event.message
    assert "conflict" in caplog.text
    assert store.event_counts() == {"conflict": 1}


@pytest.mark.parametrize("final", ["failed", "quarantined"])
def test_what_comes_after_a_label_was_given_up_is_an_event_only(store, final):
    state = store.record_failure(
        3, "timeout", "60 s", 60.0, 60.0, retry=False, final=final
    )
    assert state == final
    assert not store.record(3, result(3), 70.0, 70.0, "here", VERSIONS)
    assert store.record_failure(3, "scf", "no", 9.0, 9.0, retry=True) == final
    label = store.label(3)
    assert (label.state, label.result, label.error_kind) == (final, None, "timeout")
    assert store.event_counts() == {final: 1, "late": 2}
    assert store.spent() == 64.0


def test_a_late_result_of_an_open_label_is_taken(store):
    assert store.record_failure(3, "timeout", "60 s", 60.0, 60.0, retry=True)
    assert store.record(3, result(3), 70.0, 70.0, "here", VERSIONS)
    assert store.label(3).state == "done"
    assert store.label(3).error_kind is None


def test_every_attempt_is_charged_and_counted(store):
    for i in range(2):
        assert store.record_failure(3, "scf", f"{i}", 1.0, 2.0, retry=True) == "pending"
        store.start(3)
    store.record(3, result(3), 1.0, 2.0, "here", VERSIONS)
    label = store.label(3)
    assert (label.attempts, label.wall_seconds, label.cpu_seconds) == (3, 3.0, 6.0)
    assert [e.message for e in store.events()] == [
        "attempt 1: scf: 0",
        "attempt 2: scf: 1",
    ]
    assert store.spent() == store.spent("a") + store.spent("b") == 10.0


def test_an_interrupted_attempt_is_reported_and_does_not_count(store):
    assert store.reset_running() == 1
    assert store.reset_running() == 0
    assert (store.label(3).state, store.label(3).attempts) == ("pending", 0)
    assert [(e.kind, e.label_id) for e in store.events()] == [("reset", 3)]
    # its spooled result may still be found
    assert store.record(3, result(3), 1.0, 1.0, "here", VERSIONS)
    assert store.label(3).attempts == 1


@pytest.mark.parametrize("label_id", [1, 3])
def test_only_a_pending_label_is_started(store, label_id):
    before = contents(store.path)
    with pytest.raises(StoreError, match="only a pending"):
        store.start(label_id)
    assert contents(store.path) == before


@pytest.mark.parametrize(
    "label", [Label(forces=np.zeros((4, 3))), Label()], ids=["atoms", "empty"]
)
def test_a_result_that_cannot_belong_to_the_structure_is_refused(store, label):
    with pytest.raises(ValueError, match="label 3"):
        store.record(3, label, 1.0, 1.0, "here", VERSIONS)
    assert store.label(3).state == "running"


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_a_time_that_is_no_time_is_refused(store, seconds):
    with pytest.raises(ValueError, match="finite and >= 0"):
        store.record(3, result(3), 1.0, seconds, "here", VERSIONS)
    with pytest.raises(ValueError, match="finite and >= 0"):
        store.record_failure(3, "scf", "", seconds, 1.0, retry=True)
    assert store.label(3).state == "running"


def test_an_unknown_label_is_refused(store):
    for write in (
        lambda: store.start(99),
        lambda: store.record(99, result(), 1.0, 1.0, "here", {}),
        lambda: store.record_failure(99, "scf", "", 1.0, 1.0, retry=True),
        lambda: store.log_event("note", "", 99),
        lambda: store.label(99),
    ):
        with pytest.raises(StoreError, match="no label 99"):
            write()


def test_an_error_inside_a_batch_undoes_all_or_its_own_part(store):
    before = contents(store.path)
    with pytest.raises(StoreError), store.batch():
        store.start(4)
        store.start(1)
    assert contents(store.path) == before
    with store.batch():
        store.start(4)
        with pytest.raises(StoreError):
            store.request_labels(5, [(5, "a", "sweep"), (99, "a", "sweep")])
        store.start(5)
    assert store.label(4).state == store.label(5).state == "running"
    assert store.labels(step=5) == []


@pytest.mark.parametrize(
    ("choice", "ids", "labels"),
    [
        ({}, [0, 5, 7], {(0, "low"), (1, "low"), (1, "high"), (2, "low")}),
        ({"roles": ["target"]}, [7], {(0, "low")}),
        ({"roles": ["heldout"]}, [8], {(0, "high")}),
        ({"purposes": ["acquired"]}, [5], {(0, "high")}),
        ({"up_to_step": 0}, [0, 5, 7], {(0, "low"), (1, "low"), (2, "low")}),
        ({"purposes": []}, [], set()),
    ],
)
def test_the_data_set_is_what_is_done_and_asked_for(tmp_path, choice, ids, labels):
    with finished(tmp_path / "campaign.sqlite") as store:
        data, found = store.dataset([LOW, HIGH], **choice)
    assert found == ids
    assert set(data.labels) == labels
    assert data.levels == ("low", "high")
    for (index, level), label in data.labels.items():
        structure_id = found[index]
        expected = result(structure_id + 100 * (level == "high"))
        assert label.agrees_with(expected)
        assert structure_key(data.structures[index]) == structure_key(
            molecule(structure_id)
        )


def test_the_data_set_holds_only_the_levels_asked_for(tmp_path):
    with finished(tmp_path / "campaign.sqlite") as store:
        data, ids = store.dataset([HIGH])
    assert ids == [5]
    assert set(data.labels) == {(0, "high")}


def test_validation_is_outside_the_budget(tmp_path):
    with finished(tmp_path / "campaign.sqlite") as store:
        assert store.spent() == 13.0
        assert store.spent("low") == 3.0
        assert store.spent("high") == 10.0
        assert store.spent("high", ["validation"]) == 10.0
        assert store.spent(purposes=None) == 23.0
        assert store.spent("unknown") == 0.0


def test_labels_are_told_apart_in_the_order_they_were_asked(tmp_path):
    with finished(tmp_path / "campaign.sqlite") as store:
        asked = [(s.step, s.rank, s.structure_id) for s in store.labels()]
        assert asked == [
            (0, 0, 5),
            (0, 1, 0),
            (0, 2, 7),
            (1, 0, 5),
            (1, 1, 2),
            (1, 2, 8),
        ]
        assert [s.structure_id for s in store.labels("pending")] == [2]
        assert [s.structure_id for s in store.labels("done", level="high")] == [5, 8]
        assert [s.structure_id for s in store.labels(purpose="pilot")] == [5, 0, 7]
        zeros = {"running": 0, "failed": 0, "quarantined": 0}
        assert store.counts() == {
            "low": {"pending": 0, "done": 3, **zeros},
            "high": {"pending": 1, "done": 2, **zeros},
        }


def test_meta_is_kept_and_replaced(store):
    assert store.meta("nothing") is None
    assert store.meta("config") == "{}"
    store.set_meta("config", "{é}")
    assert store.meta("config") == "{é}"


def test_status_of_a_hundred_thousand_labels_takes_under_a_second(tmp_path):
    structures = [(Atoms("H", [(0, 0, i)]), "candidate") for i in range(1000)]
    requests = [
        (i, f"level {level}", "sweep", None, None)
        for level in range(100)
        for i in range(1000)
    ]
    with CampaignStore(tmp_path / "campaign.sqlite") as store:
        store.add_structures(structures)
        store.open_step(0, "sweep", {}, requests)
        filler = "[" + "0.1234567890123456, " * 15 + "0]"
        store._connection.execute(
            "UPDATE labels SET state = 'done', cpu_seconds = 0.1, result = ? "
            "WHERE id % 10 != 0",
            [filler],
        )
        start = time.process_time()
        counts, spent = store.counts(), store.spent()
        n_events = store.event_counts()
        seconds = time.process_time() - start
    assert all(c["done"] == 900 and c["pending"] == 100 for c in counts.values())
    assert spent == pytest.approx(9000.0, rel=1e-14)
    assert n_events == {}
    assert seconds < 1.0


# --- damage


@pytest.mark.faults
@given(place=st.integers(0, 10**6), bit=st.integers(0, 6))
@settings(max_examples=60, deadline=None)
def test_a_flipped_bit_in_a_stored_label_is_never_read_as_another_label(place, bit):
    """Row 16, for the labels: promise 4 holds after the disk has lied."""
    written = encode_label(result(3))
    place %= len(written)
    flipped = chr(ord(written[place]) ^ (1 << bit))
    damaged = written[:place] + flipped + written[place + 1 :]
    with pytest.raises(StoreError, match="a stored label is damaged"):
        decode_label(damaged)
    assert decode_label(written).agrees_with(result(3))


def test_a_label_of_an_older_store_has_no_hash_and_is_read():
    written = encode_label(result(3))
    bare = written[: written.index(', "sha256"')] + "}"
    assert decode_label(bare).agrees_with(result(3))


@pytest.mark.faults
def test_a_damaged_label_or_structure_stops_the_fit_with_what_to_do(store):
    store._execute("UPDATE labels SET result = replace(result, '1', '2') WHERE id = 1")
    with pytest.raises(StoreError, match=r"restore campaign\.sqlite from a copy"):
        store.dataset((Fidelity("a"), Fidelity("b")))
    store._execute("UPDATE structures SET positions = zeroblob(length(positions))")
    with pytest.raises(StoreError, match="structure 0 is damaged"):
        store.structures()
