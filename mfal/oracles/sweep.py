"""Labels for a list of structures, in a run that can be killed and run again."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ase import Atoms

from mfal.data.checks import check_electrons
from mfal.data.dataset import Label, LabelledDataset, structure_key
from mfal.data.fidelity import Fidelity
from mfal.oracles.ase_calculator import ALLOWED_MODULES
from mfal.oracles.dispatch import label_all
from mfal.oracles.pool import LabelPool
from mfal.oracles.presets import build_oracle, validate_specification
from mfal.oracles.request import LabelError, LabelRequest, LabelResult
from mfal.oracles.spool import collect_spool

log = logging.getLogger(__name__)

WORTH_ANOTHER = ("not_converged", "code_error", "crashed")
"""Errors that another attempt, in another way, may not meet."""


@dataclass(frozen=True)
class Sweep:
    """What a run gave: the labels of the structures that have one, the failures.

    Both go by the index of the structure; `seconds` is the CPU time of this run's
    labels, `n_known` the number of labels that were in the spool before.
    """

    structures: tuple[Atoms, ...]
    fidelity: Fidelity
    labels: Mapping[int, Label]
    failures: Mapping[int, LabelError]
    seconds: float
    n_known: int

    @property
    def summary(self) -> str:
        """One line: how many labels, of them from before, and what they cost."""
        known = f" ({self.n_known} from an earlier run)" if self.n_known else ""
        return (
            f"{len(self.labels)} of {len(self.structures)} structures labelled at "
            f"{self.fidelity.name}{known} in {self.seconds:.3g} CPU s"
        )

    def dataset(self) -> LabelledDataset:
        """The structures that have a label, with it."""
        level = self.fidelity.name
        return LabelledDataset(
            self.structures,
            (self.fidelity,),
            {(i, level): label for i, label in self.labels.items()},
        ).subset(sorted(self.labels))


def label_structures(
    structures: Sequence[Atoms],
    fidelity: Fidelity,
    spool: Path,
    *,
    n_workers: int = 1,
    timeout: float | None = None,
    attempts: int = 2,
    allowed_modules: Collection[str] = ALLOWED_MODULES,
    on_result: Callable[[int], None] = lambda done: None,
) -> Sweep:
    """Label each structure; a label in `spool` is not computed again.

    A label that failed is tried up to `attempts` times, with the settings of a later
    attempt (see `mfal.oracles.oracle`), then left out; in a later run on the same spool
    it is tried again. `on_result` is told how many structures are settled.

    Raises:
        ValueError: the level cannot label these elements or these numbers of electrons,
            a structure stands twice.
    """
    _check(structures, fidelity, allowed_modules)
    index: dict[str, int] = {}
    for i, atoms in enumerate(structures):
        twin = index.setdefault(structure_key(atoms), i)
        if twin != i:
            raise ValueError(f"structures {twin} and {i} are the same: keep one")
    requests = {
        i: LabelRequest.of(
            key, structures[i], fidelity, spool=spool, allowed_modules=allowed_modules
        )
        for key, i in index.items()
    }
    results: dict[int, LabelResult] = {}
    before: dict[int, int] = {}
    for result in collect_spool(spool):
        known = index.get(result.label_id)
        if known is not None and result.task == requests[known].task:
            before[known] = result.attempt
            if result.label is not None:
                results[known] = result
    n_known, seconds = len(results), 0.0
    on_result(n_known)

    def take(result: LabelResult) -> None:
        nonlocal seconds
        i = index[result.label_id]
        results[i] = result
        seconds += result.cpu_seconds
        if result.error is not None:
            log.info("structure %d, attempt %d: %s", i, result.attempt, result.error)
        on_result(len(results))

    with LabelPool(n_workers, timeout=timeout) as pool:
        for attempt in range(1, attempts + 1):
            wanted = [
                LabelRequest.of(
                    key,
                    structures[i],
                    fidelity,
                    attempt=before.get(i, 0) + attempt,
                    spool=spool,
                    allowed_modules=allowed_modules,
                )
                for key, i in index.items()
                if _worth_an_attempt(results.get(i))
            ]
            label_all(pool, wanted, take)
    return Sweep(
        tuple(structures),
        fidelity,
        {i: r.label for i, r in sorted(results.items()) if r.label is not None},
        {i: r.error for i, r in sorted(results.items()) if r.error is not None},
        seconds,
        n_known,
    )


def _check(
    structures: Sequence[Atoms], fidelity: Fidelity, allowed_modules: Collection[str]
) -> None:
    """What is wrong with the level, not with one geometry, is told before any work."""
    species = {
        symbol for atoms in structures for symbol in atoms.get_chemical_symbols()
    }
    validate_specification(fidelity, species, allowed_modules)
    if not build_oracle(fidelity, allowed_modules).counts_electrons:
        return
    for i, atoms in enumerate(structures):
        reason = check_electrons(
            atoms, charge=fidelity.charge, multiplicity=fidelity.multiplicity
        )
        if reason and not atoms.pbc.any():
            raise ValueError(f"level {fidelity.name!r}, structure {i}: {reason}")


def _worth_an_attempt(result: LabelResult | None) -> bool:
    if result is None:
        return True
    return result.error is not None and result.error.kind in WORTH_ANOTHER
