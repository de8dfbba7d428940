"""Whatever is told in whatever order, a label keeps to its states."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from stored_campaign import (
    molecule,
    result,
)

from mfal.campaign.database import StoreError
from mfal.campaign.records import OPEN
from mfal.campaign.store import CampaignStore


class LabelStates(RuleBasedStateMachine):
    """Whatever is told in whatever order, the store agrees with a plain model."""

    def __init__(self):
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.store = CampaignStore(Path(self.directory.name) / "campaign.sqlite")
        self.store.add_structures([(molecule(0), "candidate")])
        (self.id,) = self.store.open_step(0, "pilot", {}, [(0, "a", "pilot")])
        self.state, self.cpu, self.attempts = "pending", 0.0, 0
        self.kept = None
        self.kinds = []

    @rule()
    def start(self):
        if self.state == "pending":
            self.store.start(self.id)
            self.state, self.attempts = "running", self.attempts + 1
        else:
            with pytest.raises(StoreError):
                self.store.start(self.id)

    @rule(value=st.sampled_from([1, 2]), cpu=st.integers(0, 9).map(float))
    def record(self, value, cpu):
        taken = self.store.record(self.id, result(value), cpu, cpu, "here", {})
        assert taken == (self.state in OPEN)
        if taken:
            self.state, self.kept, self.cpu = "done", value, self.cpu + cpu
            self.attempts = max(self.attempts, 1)
        elif self.state != "done":
            self.kinds.append("late")
        elif self.kept != value:
            self.kinds.append("conflict")

    @rule(
        cpu=st.integers(0, 9).map(float),
        retry=st.booleans(),
        final=st.sampled_from(["failed", "quarantined"]),
    )
    def fail(self, cpu, retry, final):
        told = self.store.record_failure(
            self.id, "scf", "no", cpu, cpu, retry=retry, final=final
        )
        if self.state in OPEN:
            self.state, self.cpu = "pending" if retry else final, self.cpu + cpu
            self.kinds.append("retried" if retry else final)
        else:
            self.kinds.append("late")
        assert told == self.state

    @precondition(lambda self: self.state in OPEN)
    @rule()
    def resume(self):
        assert self.store.reset_running() == (self.state == "running")
        if self.state == "running":
            self.state, self.attempts = "pending", self.attempts - 1
            self.kinds.append("reset")

    @invariant()
    def agrees(self):
        label = self.store.label(self.id)
        assert (label.state, label.cpu_seconds) == (self.state, self.cpu)
        assert label.attempts == self.attempts
        assert (label.result is not None) == (self.state == "done")
        if self.kept is not None:
            assert label.result.agrees_with(result(self.kept))
        assert [event.kind for event in self.store.events()] == self.kinds
        assert self.store.spent() == self.cpu

    def teardown(self):
        self.store.close()
        self.directory.cleanup()


TestLabelStates = LabelStates.TestCase
TestLabelStates.settings = settings(
    max_examples=30, stateful_step_count=15, deadline=None
)
