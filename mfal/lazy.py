"""Names of a package that are imported when they are first used."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package (PEP 562): each name from its module there.

    >>> lazy("mfal.data", {"QUANTITIES": "fidelity"})("QUANTITIES")
    ('energy', 'forces', 'stress')

    Raises:
        AttributeError: of what is returned: a name that has no home.
    """

    def imported(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    return imported
