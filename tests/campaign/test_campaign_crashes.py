"""A driver that dies at every commit of a campaign loses nothing and changes nothing."""

from contextlib import contextmanager
from itertools import cycle

import pytest
from small_campaigns import DECLARED, bought, run, small_config, write_labels

from mfal.campaign import store as store_module
from mfal.campaign.reader import StoreReader

pytestmark = pytest.mark.faults
DECLARED_BUDGET = {"highest_labels": 6, "costs": DECLARED}
MODES = {
    "sweep": {},
    "in step": {"budget": DECLARED_BUDGET},
    "without waiting": {"budget": DECLARED_BUDGET, "execution": {"asynchronous": True}},
}
COMMITS = 8
"""A resumed driver gets so far at the most; it takes a few to be where it was."""


class Crash(BaseException):
    """No handler of errors catches it."""


class Commits:
    """Counts the commits of the store and dies before or after the n-th."""

    def __init__(self, monkeypatch):
        self.n, self.last, self.after = 0, None, False
        original = store_module.transaction

        @contextmanager
        def transaction(connection, path):
            outer = not connection.in_transaction
            self.n += outer
            dies = outer and self.n == self.last
            with original(connection, path):
                yield
                if dies and not self.after:
                    raise Crash
            if dies:
                raise Crash

        monkeypatch.setattr(store_module, "transaction", transaction)

    def dies_at(self, last, after=False):
        self.n, self.last, self.after = 0, last, after


def is_there(directory):
    """Whether the store holds a campaign that is resumed."""
    file = directory / "campaign.sqlite"
    if not file.exists():
        return False
    reader = StoreReader(file, read_only=True)
    found = reader.meta("digest") is not None
    reader.close()
    return found


@pytest.mark.parametrize("mode", MODES)
def test_killed_at_commit_after_commit_it_ends_as_if_nothing_had_been(
    mode, tmp_path, monkeypatch
):
    write_labels(tmp_path)
    config = small_config(tmp_path, comparison=False, **MODES[mode])
    commits = Commits(monkeypatch)
    whole = run(config, tmp_path / "whole")
    n_commits = commits.n
    places = cycle((n, after) for n in range(3, COMMITS + 1) for after in (False, True))
    crashes, fresh, results = 0, 1, None
    while results is None:
        if is_there(tmp_path / "killed"):
            commits.dies_at(*next(places))
        else:  # the first commits, one by one
            commits.dies_at((fresh + 1) // 2, fresh % 2 == 0)
            fresh += 1
        try:
            results = run(config, tmp_path / "killed")
        except Crash:
            crashes += 1
        assert crashes < 4 * n_commits, "it makes no progress"
    assert crashes > 10
    assert bought(results) == bought(whole)
    told = [
        [(b["gain"], b["gain_per_cost"], b["step"], b["rank"]) for b in r["bought"]]
        for r in (results, whole)
    ]
    assert told[0] == told[1]
    assert results["budget"] == whole["budget"]
    assert results["n_labels"] == whole["n_labels"]
