"""Formulas as MathML, written at build time: no script and no font is loaded."""

import html
import re
from typing import Any

from latex2mathml.converter import convert

FORMULA = re.compile(
    r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL
)


PRIME = re.compile(r"<msup>(<mi>[^<]*</mi>)<mi>(&#x02032;)</mi></msup>")


def on_page_content(content: str, **_: Any) -> str:
    """Replaces what the extension arithmatex marked."""
    return FORMULA.sub(_converted, content)


def _converted(found: re.Match[str]) -> str:
    display = "block" if found[2] == "[" else "inline"
    mathml = convert(html.unescape(found[3]).strip(), display=display)
    mathml = PRIME.sub(r"<mrow>\1<mo>\2</mo></mrow>", mathml)  # not raised twice
    return f'<div class="formula">{mathml}</div>' if display == "block" else mathml
