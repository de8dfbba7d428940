"""Docstrings of the code as Markdown: the directive `.. math::` becomes a formula.

An extension of griffe, which reads the sources without importing them.
"""

import re
import textwrap
from typing import Any

import griffe

DIRECTIVE = re.compile(
    r"^(?P<indent> *)\.\. math:: *(?P<first>.*)\n(?P<rest>(?:(?P=indent) +\S.*\n|[ ]*\n)*)",
    re.MULTILINE,
)


def with_formulas(text: str) -> str:
    """The text with each `.. math::` block between dollars.

    >>> with_formulas(".. math:: a = b,\\n    c = d\\n\\nWords.")
    '\\n$$\\na = b,\\nc = d\\n$$\\n\\nWords.'
    """
    return DIRECTIVE.sub(_formula, text + "\n").rstrip("\n")


def _formula(found: re.Match[str]) -> str:
    rest = textwrap.dedent(found["rest"]).strip("\n")
    lines = [line for line in (found["first"], *rest.splitlines()) if line.strip()]
    body = "\n".join(found["indent"] + line.strip() for line in lines)
    return f"\n{found['indent']}$$\n{body}\n{found['indent']}$$\n\n"


class Formulas(griffe.Extension):
    """Applies `with_formulas` to every docstring."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Before anything is rendered."""
        if obj.docstring is not None and ".. math::" in obj.docstring.value:
            obj.docstring.value = with_formulas(obj.docstring.value)
