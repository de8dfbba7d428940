"""Reading the options of an oracle from a specification, with errors that help."""

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from difflib import get_close_matches
from types import ModuleType
from typing import Any

from mfal.data.fidelity import Fidelity
from mfal.oracles.oracle import OracleError

KINDS: dict[type, tuple[type, ...]] = {
    str: (str,),
    int: (int,),
    float: (int, float),
    bool: (bool,),
    dict: (dict,),
}
"""Values that a file may give for an option of each type."""


def check_options(oracle_type: type, fidelity: Fidelity) -> dict[str, Any]:
    """The options of a specification, checked against the fields of an oracle.

    Raises:
        ValueError: an option that is unknown, missing or of the wrong type.
    """
    known = {f.name: f for f in fields(oracle_type) if f.name != "fidelity"}
    options: dict[str, Any] = {k: v for k, v in fidelity.oracle.items() if k != "code"}
    where = f"level {fidelity.name!r} (code {fidelity.oracle['code']!r})"
    for name, value in tuple(options.items()):
        if name not in known:
            raise ValueError(
                f"{where}: unknown option {name!r}{nearest(name, known)}; "
                f"the options are {', '.join(known)}"
            )
        wanted = known[name].type
        allowed = next(v for k, v in KINDS.items() if wanted in (k, k.__name__))
        wrong_bool = isinstance(value, bool) and bool not in allowed
        if not isinstance(value, allowed) or wrong_bool:
            raise ValueError(
                f"{where}: option {name!r} is of type {allowed[-1].__name__}, "
                f"got {value!r}"
            )
        if float in allowed:
            options[name] = float(options[name])
    for name, option in known.items():
        required = option.default is MISSING and option.default_factory is MISSING
        if required and name not in options:
            raise ValueError(f"{where}: option {name!r} is missing")
    return options


def check_positive(fidelity: Fidelity, options: Mapping[str, float]) -> None:
    """Refuse options that are not above zero.

    Raises:
        ValueError: the option and its value.
    """
    for name, value in options.items():
        if not value > 0:
            raise ValueError(
                f"level {fidelity.name!r}: option {name!r} is above 0, got {value}"
            )


def check_quantities(fidelity: Fidelity, given: Iterable[str], method: str) -> None:
    """Refuse quantities that the method cannot give.

    Raises:
        ValueError: the quantity, and those that the method gives.
    """
    given = tuple(given)
    for quantity in fidelity.quantities:
        if quantity not in given:
            raise ValueError(
                f"level {fidelity.name!r}: {method} gives {' and '.join(given)} only, "
                f"{quantity} was asked for: set `quantities` to {list(given)}"
            )


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint that names the closest known word, or nothing.

    >>> nearest("mehtod", ["method", "basis"])
    " (did you mean 'method'?)"
    """
    folded = {word.lower(): word for word in known}
    close = get_close_matches(name.lower(), folded, n=1)
    return f" (did you mean {folded[close[0]]!r}?)" if close else ""


def import_code(module: str, package: str) -> ModuleType:
    """Import a code that is an extra of this package.

    Raises:
        OracleError: `missing_package`, with the pip command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        root = module.split(".")[0]
        if (error.name or "").split(".")[0] != root:
            raise
        raise OracleError(
            "missing_package",
            f"{root} is not installed: pip install '{package}'",
        ) from None
