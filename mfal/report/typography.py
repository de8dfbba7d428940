"""Numbers, units and names as they are set on the page and in figures."""

import html
import math
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from mfal.report.document import finite

MISSING = "–"
SPACE = "\u00a0"
ENERGY_UNIT = "meV/atom"
FORCE_UNIT = "eV/Å"
UNITS = {"energy": ENERGY_UNIT, "forces": FORCE_UNIT}
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def rounded(value: Any, digits: int = 3) -> str:
    """A number with this many significant digits, never fewer than its integer part.

    >>> rounded(0.06417), rounded(1900.4), rounded(-2.5, 2), rounded(None)
    ('0.0642', '1,900', '−2.5', '–')
    """
    number = finite(value)
    if number is None:
        return MISSING
    if number == 0:
        return "0"
    exponent = int(f"{number:.{digits - 1}e}".split("e")[1])
    if not -4 <= exponent < 7:
        power = str(exponent).translate(_SUPERSCRIPTS)
        text = f"{number / 10.0**exponent:.{digits - 1}f}{SPACE}×{SPACE}10{power}"
    else:
        text = f"{number:,.{max(0, digits - 1 - exponent)}f}"
    return text.replace("-", "−")


def with_error(value: Any, error: Any) -> str:
    """A number and its standard error, rounded where the error says so.

    >>> with_error(0.06417, 0.0031), with_error(1.02, None)
    ('0.064\\xa0±\\xa00.003', '1.02')
    """
    number, spread = finite(value), finite(error)
    if number is None or spread is None or spread <= 0:
        return rounded(value)
    first = f"{spread:.1e}"
    digits = 2 if first.startswith("1") else 1
    decimals = max(0, digits - 1 - int(f"{spread:.{digits - 1}e}".split("e")[1]))
    text = f"{number:,.{decimals}f}{SPACE}±{SPACE}{spread:,.{decimals}f}"
    return text.replace("-", "−")


def count(value: Any) -> str:
    """A whole number with thousands set apart, or the sign for a missing one."""
    number = finite(value)
    return MISSING if number is None else f"{number:,.0f}".replace("-", "−")


def percent(fraction: Any, digits: int = 0) -> str:
    """A fraction in percent.

    >>> percent(0.934)
    '93\\xa0%'
    """
    number = finite(fraction)
    return MISSING if number is None else f"{100 * number:.{digits}f}{SPACE}%"


def amount(value: Any, unit: str, digits: int = 3) -> str:
    """A number with its unit, on one line."""
    return f"{rounded(value, digits)}{SPACE}{unbroken(unit)}"


def unbroken(unit: str) -> str:
    """A unit that is not broken over two lines."""
    return unit.replace(" ", SPACE)


def listed(items: Sequence[str]) -> str:
    """Items in one sentence.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join(filter(None, [", ".join(items[:-1]), *items[-1:]]))


def duration(seconds: Any) -> str:
    """A time in the unit that people would use.

    >>> duration(400), duration(90_000)
    ('6\\xa0min\\xa040\\xa0s', '25.0\\xa0h')
    """
    number = finite(seconds)
    if number is None:
        return MISSING
    if number < 60:
        return amount(number, "s", 2)
    if number < 7200:
        minutes, rest = divmod(math.floor(number + 0.5), 60)
        return f"{minutes}{SPACE}min{SPACE}{rest}{SPACE}s"
    return amount(number / 3600, "h")


def moment(iso: Any) -> Any:
    """A point in time to the minute; what is not one in ISO form is left as it is.

    >>> moment("2025-03-04T09:20:31+00:00")
    '2025-03-04 09:20 UTC'
    """
    try:
        when = datetime.fromisoformat(iso)
    except (TypeError, ValueError):
        return iso
    return f"{when:%Y-%m-%d %H:%M} {when.tzname() or ''}".rstrip()


def text(value: Any) -> str:
    """Anything that comes from data, escaped for HTML; 5 % stays on one line."""
    if value is None or value == "":
        return MISSING
    return re.sub(r"(?<=\d) %", f"{SPACE}%", html.escape(str(value)))


def sentence(said: Any) -> str:
    """A sentence of the campaign in HTML: its units and powers as they are printed.

    >>> sentence("2 eV/A as n^-0.50")
    '2 eV/Å as n<sup>−0.50</sup>'
    """
    plain = re.sub(r"\beV/A\b", FORCE_UNIT, text(said))
    return re.sub(
        r"\^(-?[\d.]*\d)", lambda m: f"<sup>{m[1].replace('-', '−')}</sup>", plain
    )


def formula(value: Any) -> str:
    """A chemical formula in HTML, its numbers set low.

    >>> formula("C2H6O")
    'C<sub>2</sub>H<sub>6</sub>O'
    """
    return re.sub(r"(?<=[A-Za-z)])(\d+)", r"<sub>\1</sub>", text(value))


def shortened(name: str, length: int = 14) -> str:
    """A name that fits beside an axis.

    >>> shortened("pbe-def2-tzvpp-with-d4")
    'pbe-def2-tzvp…'
    """
    flat = " ".join(name.split())
    return flat if len(flat) <= length else flat[: length - 1] + "…"
