"""Labels in a worker: gate, run, gate, write down."""

import json
import logging
import resource
import time
from functools import lru_cache

from mfal.data.checks import check_label_at, check_structure
from mfal.data.fidelity import Fidelity
from mfal.oracles.oracle import Calculation, Oracle, OracleError
from mfal.oracles.presets import build_oracle
from mfal.oracles.request import LabelError, LabelRequest, LabelResult
from mfal.oracles.spool import (
    finished_before,
    note_begin,
    only_here,
    write_result,
)

log = logging.getLogger(__name__)


def label_structure(request: LabelRequest) -> LabelResult:
    """The label of one structure, computed here, in the worker.

    The structure is checked first, the label afterwards, and the result is in the
    spool directory before it is returned. If another process is computing the same
    label, its result is waited for and taken. Never raises for a label that failed:
    the result then holds the error.
    """
    with only_here(request):
        known = finished_before(request)
        if known is not None:
            log.info("label %s: taken from the spool", request.label_id)
            return known
        note_begin(request)
        result = _compute(request)
        write_result(request, result)
        return result


def _compute(request: LabelRequest) -> LabelResult:
    clock = _Clock()
    calculation, error = None, None
    try:
        oracle = _oracle_of(request)
        clock = _Clock()  # loading a code, once per worker, is not the cost of a label
        calculation = _checked_calculation(oracle, request)
    except OracleError as failure:
        error = LabelError(failure.kind, failure.message)
    except MemoryError as failure:
        error = LabelError("memory", f"the worker ran out of memory: {failure}")
    except Exception as failure:  # whatever a code raises costs this label only
        log.debug("label %s failed", request.label_id, exc_info=True)
        message = f"{type(failure).__name__}: {failure}"[:500]
        error = LabelError("code_error", message)
    wall, cpu = clock.seconds()
    if calculation is not None and calculation.cpu_seconds is not None:
        cpu = calculation.cpu_seconds
    if error is not None:
        return LabelResult.of(request, error, wall, cpu)
    assert calculation is not None  # or there was an error
    return LabelResult.of(
        request,
        calculation.label,
        wall,
        cpu,
        converged=calculation.converged,
        versions=calculation.versions,
    )


def _checked_calculation(oracle: Oracle, request: LabelRequest) -> Calculation:
    """The calculation, with the gates before and after it.

    Raises:
        OracleError: no label, or one that must not be used.
    """
    fidelity, atoms = request.fidelity, request.atoms
    reason = check_structure(
        atoms,
        charge=fidelity.charge,
        multiplicity=fidelity.multiplicity if oracle.counts_electrons else None,
    )
    if reason:
        raise OracleError("unphysical_structure", reason)
    calculation = oracle(atoms, request.attempt)
    if calculation.converged is None:
        raise OracleError(
            "not_converged",
            f"level {fidelity.name!r}: the code did not say whether it converged; let "
            "the calculator report `converged`, or declare `raises_if_unconverged`",
        )
    if not calculation.converged:
        raise OracleError("not_converged", "the code says that it did not converge")
    reason = check_label_at(atoms, calculation.label, fidelity)
    if reason:
        raise OracleError("unphysical_label", reason)
    return calculation


def _oracle_of(request: LabelRequest) -> Oracle:
    try:
        return _oracle(
            json.dumps(request.fidelity.to_dict(), sort_keys=True),
            tuple(sorted(set(request.atoms.get_chemical_symbols()))),
            request.allowed_modules,
        )
    except ValueError as failure:
        raise OracleError("bad_specification", str(failure)) from None


@lru_cache(maxsize=64)
def _oracle(
    fidelity: str, species: tuple[str, ...], allowed_modules: tuple[str, ...]
) -> Oracle:
    """The oracle of a level for these elements, built and checked once per worker."""
    oracle = build_oracle(Fidelity.from_dict(json.loads(fidelity)), allowed_modules)
    oracle.check(species)
    return oracle


class _Clock:
    """Wall and CPU time since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), _cpu_seconds()

    def seconds(self) -> tuple[float, float]:
        return time.perf_counter() - self._wall, _cpu_seconds() - self._cpu


def _cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
