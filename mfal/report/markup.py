"""Pieces of HTML. What comes from data is escaped before it gets here."""

import base64
from collections.abc import Iterable, Mapping, Sequence

from mfal.report.drawing import Drawing
from mfal.report.files import svg
from mfal.report.typography import text


def paragraph(content: str, kind: str = "") -> str:
    """A paragraph, of a class of the style sheet if named."""
    return f'<p class="{kind}">{content}</p>' if kind else f"<p>{content}</p>"


def missing(sentence: str) -> str:
    """A plain statement that something is not there."""
    return paragraph(text(sentence), "missing")


def bullets(items: Iterable[str]) -> str:
    """A list of sentences; nothing if there are none."""
    inside = "".join(f"<li>{item}</li>" for item in items)
    return f"<ul>{inside}</ul>" if inside else ""


def definitions(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and what stands for each."""
    return f"<dl>{''.join(f'<dt>{k}</dt><dd>{v}</dd>' for k, v in pairs)}</dl>"


def table(
    caption: str,
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    words: Iterable[int] = (),
) -> str:
    """A table whose first column names the rows and whose other columns are numbers.

    `words` are the columns, beside the first, that hold words and not numbers.
    """
    left = {0, *words}

    def mark(column: int) -> str:
        return "" if column in left else ' class="n"'

    titles = "".join(
        f'<th scope="col"{mark(c)}>{title}</th>' for c, title in enumerate(head)
    )
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>'
        + "".join(f"<td{mark(c)}>{v}</td>" for c, v in enumerate(row[1:], 1))
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll" role="region" aria-label="{caption}" tabindex="0">'
        f"<table><caption>{caption}</caption><thead><tr>{titles}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def figures(drawings: Iterable[Drawing], beside: str = "") -> str:
    """Figures, inlined, and what stands beside them where the page is wide enough."""
    pieces = []
    for drawing in drawings:
        data = base64.b64encode(svg(drawing.figure)).decode()
        pieces.append(
            f'<figure><img src="data:image/svg+xml;base64,{data}" '
            f'alt="{text(drawing.alt)}"></figure>'
        )
    aside = f"<div>{beside}</div>" if beside else ""
    return f'<div class="figures">{"".join(pieces)}{aside}</div>'


def section(title: str, *content: str) -> str:
    """A part of the page under its heading."""
    body = "\n".join(filter(None, content))
    return f"<section><h2>{title}</h2>\n{body}\n</section>"


def pictured(
    title: str,
    drawings: Mapping[str, Drawing],
    names: Sequence[str],
    note: str,
    otherwise: str,
    beside: str = "",
) -> str:
    """A section of the figures that there are, or a plain statement of none."""
    there = [drawings[name] for name in names if name in drawings]
    if not there:
        return section(title, missing(otherwise), beside)
    explained = paragraph(text(note)) if note else ""
    return section(title, explained, figures(there, beside))
