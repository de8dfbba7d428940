"""The reference codes by name: from a specification to an oracle, in one place."""

from collections.abc import Collection

from mfal.data.fidelity import Fidelity
from mfal.oracles.ase_calculator import ALLOWED_MODULES, Emt, FactoryCalculator
from mfal.oracles.gpaw import Gpaw
from mfal.oracles.manual import MANUAL, Manual
from mfal.oracles.oracle import Oracle, OracleError
from mfal.oracles.pyscf import Pyscf
from mfal.oracles.replay import Replay
from mfal.oracles.specification import check_options, nearest
from mfal.oracles.tblite import Tblite

CODES: dict[str, type] = {
    "tblite": Tblite,
    "pyscf": Pyscf,
    "gpaw": Gpaw,
    "emt": Emt,
    "replay": Replay,
    "python": FactoryCalculator,
    MANUAL: Manual,
}
"""What `code` in a specification may be."""


def build_oracle(
    fidelity: Fidelity, allowed_modules: Collection[str] = ALLOWED_MODULES
) -> Oracle:
    """The oracle of a level, from its specification.

    >>> from ase.build import bulk
    >>> oracle = build_oracle(Fidelity("emt", {"code": "emt"}))
    >>> oracle(bulk("Cu")).label.quantities
    ('energy', 'forces')

    Args:
        allowed_modules: modules (with all below them) of which the code "python" may
            call a factory.

    Raises:
        ValueError: an unknown code, an unknown, missing or impossible option, or a
            quantity that the method cannot give.
    """
    code = fidelity.oracle.get("code")
    if code not in CODES:
        hint = nearest(code, CODES) if isinstance(code, str) else ""
        raise ValueError(
            f"level {fidelity.name!r}: the `code` of an oracle is one of "
            f"{', '.join(CODES)}, got {code!r}{hint}"
        )
    oracle_type = CODES[code]
    oracle = oracle_type(fidelity, **check_options(oracle_type, fidelity))
    if isinstance(oracle, FactoryCalculator):
        oracle.check_allowed(allowed_modules)
    return oracle


def validate_specification(
    fidelity: Fidelity,
    species: Collection[str],
    allowed_modules: Collection[str] = ALLOWED_MODULES,
) -> None:
    """Refuse a level that cannot label structures of these elements, before any work.

    Raises:
        ValueError: as in `build_oracle`; an unknown method, functional or basis; an
            element that the method does not know; a missing package, with the pip
            command that installs it.
    """
    try:
        build_oracle(fidelity, allowed_modules).check(sorted(set(species)))
    except OracleError as error:
        raise ValueError(f"level {fidelity.name!r}: {error.message}") from None
