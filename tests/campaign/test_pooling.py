"""A pool that grows: new ids after the old, all or none, once under one name."""

import pytest
from stored_campaign import POOL, contents, molecule

from mfal.campaign.database import StoreError
from mfal.campaign.store import CampaignStore
from mfal.data import structure_key

NEW = [(molecule(i), role) for i, role in ((30, "candidate"), (31, "target"))]


def test_what_is_added_stands_after_the_pool_with_its_fact(store):
    n = len(POOL)
    assert store.extend_structures(NEW, "explored:2", "{}") == (n, n + 1)
    added = store.structures()[n:]
    assert [(s.id, s.role) for s in added] == [(n, "candidate"), (n + 1, "target")]
    assert [s.key for s in added] == [structure_key(a) for a, _ in NEW]
    assert store.meta("explored:2") == "{}"
    further = store.extend_structures([(molecule(40), "candidate")], "explored:3", "x")
    assert further == (n + 2,)


def test_nothing_found_leaves_the_fact_alone(store):
    assert store.extend_structures([], "explored:2", "none") == ()
    assert len(store.structures()) == len(POOL)
    assert store.meta("explored:2") == "none"
    assert store.extend_structures([], "explored:2", "none") == ()


def test_the_same_again_changes_nothing(store):
    first = store.extend_structures(NEW, "explored:2", "{}")
    before = contents(store.path)
    assert store.extend_structures(NEW, "explored:2", "{}") == first
    assert contents(store.path) == before


@pytest.mark.parametrize(
    ("structures", "value"),
    [(NEW, "other"), (NEW[:1], "{}"), ([(molecule(50), "candidate")], "{}")],
)
def test_something_else_under_one_name_is_refused(store, structures, value):
    store.extend_structures(NEW, "explored:2", "{}")
    before = contents(store.path)
    with pytest.raises(StoreError, match="extended once under one name"):
        store.extend_structures(structures, "explored:2", value)
    assert contents(store.path) == before


def test_a_structure_of_the_pool_and_twins_are_refused_and_nothing_stands(store):
    before = contents(store.path)
    for wrong, message in (
        ([NEW[0], (molecule(3), "candidate")], "structures 3 and 11"),
        ([NEW[0], NEW[0]], "structures 10 and 11"),
    ):
        with pytest.raises(StoreError, match=message):
            store.extend_structures(wrong, "explored:2", "{}")
    with pytest.raises(ValueError, match="role is one of"):
        store.extend_structures([(molecule(60), "spare")], "explored:2", "{}")
    assert contents(store.path) == before


def test_a_reader_cannot_extend_the_pool(store):
    with (
        CampaignStore(store.path, read_only=True) as reader,
        pytest.raises(StoreError, match="for reading only"),
    ):
        reader.extend_structures(NEW, "explored:2", "{}")
