"""Docstrings of the code as Markdown: formulas and doctests.

An extension of griffe, which reads the sources without importing them.
"""

import re
import textwrap
from typing import Any

import griffe

DIRECTIVE = re.compile(
    r"^(?P<indent> *)\.\. math:: *(?P<first>.*)\n"
    r"(?P<rest>(?:(?P=indent) +\S.*\n|[ ]*\n)*)",
    re.MULTILINE,
)
DOCTEST = re.compile(r"^>>> .*\n(?:\S.*\n| +\S.*\n)*", re.MULTILINE)


def as_markdown(text: str) -> str:
    """The text with `.. math::` between dollars and doctests between fences.

    >>> as_markdown(".. math:: a = b,\\n    c = d\\n\\nWords.")
    '\\n$$\\na = b,\\nc = d\\n$$\\n\\nWords.'
    >>> as_markdown(">>> 1 + 1\\n2\\n\\nWords.")
    '```pycon\\n>>> 1 + 1\\n2\\n```\\n\\nWords.'
    """
    text = DOCTEST.sub(r"```pycon\n\g<0>```\n", text + "\n")
    return DIRECTIVE.sub(_formula, text).rstrip("\n")


def _formula(found: re.Match[str]) -> str:
    rest = textwrap.dedent(found["rest"]).strip("\n")
    lines = [line for line in (found["first"], *rest.splitlines()) if line.strip()]
    body = "\n".join(found["indent"] + line.strip() for line in lines)
    return f"\n{found['indent']}$$\n{body}\n{found['indent']}$$\n\n"


class AsMarkdown(griffe.Extension):
    """Applies `as_markdown` to every docstring."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Before anything is rendered."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)
