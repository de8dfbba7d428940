"""The tables of labels: what was bought, and what did not come back as asked."""

from itertools import groupby
from typing import Any

from mfal.report.document import Document, cost_scale, finite, part
from mfal.report.markup import missing, table
from mfal.report.typography import MISSING, count, rounded, text, unbroken

VISIBLE_IN_PRINT = 50
"""Rows of what was bought that are printed."""
SHOWN = 4
"""Structures that are named of those bought together."""


def failure_table(document: Document) -> str:
    """Labels that failed or were quarantined."""
    failures = part(document, "failures")
    if failures is None:
        return missing("Failed labels are not recorded in these results.")
    if not failures:
        return "<p>None: every label that was asked for came back and was accepted.</p>"
    divisor, unit = cost_scale(document)
    body = []
    for failure in failures:
        cost = finite(part(failure, "cost"))
        state = f"{text(part(failure, 'state'))}: {text(part(failure, 'kind'))}"
        body.append(
            [
                f"{text(part(failure, 'structure'))}, {text(part(failure, 'level'))}"
                f"<small>{state.replace('_', ' ')}</small>",
                text(part(failure, "message")),
                count(part(failure, "attempts")),
                MISSING if cost is None else rounded(cost / divisor),
            ]
        )
    head = [
        "structure, level",
        "message",
        "tries",
        f"cost<small>{text(unbroken(unit))}</small>",
    ]
    caption = "Labels that did not enter the training set."
    return table(caption, head, body, words=[1])


def bought_table(document: Document) -> str:
    """What was bought in order: folded on a screen, the first rows in print."""
    labels = part(document, "bought") or []
    if not labels:
        return missing("Nothing has been bought yet.")
    rows = _bought_rows(labels, cost_scale(document)[0])
    shown = rows[:VISIBLE_IN_PRINT]
    n = count(len(labels))
    title = f"All {n} labels in order; those bought together without a gain in one row."
    first = title if len(shown) == len(rows) else f"The first {len(shown)} rows."
    return (
        f'<details class="screen"><summary>{n} labels, in order</summary>'
        f"{_bought_table(document, rows, title)}</details>\n"
        f'<div class="paper">{_bought_table(document, shown, first)}</div>'
    )


def _bought_table(document: Document, rows: list[list[str]], caption: str) -> str:
    unit = text(unbroken(cost_scale(document)[1]))
    head = ["step", "level", "purpose", "struc\u00adture", "gain", "gain per cost"]
    return table(caption, [*head, f"cost<small>{unit}</small>"], rows, words=(1, 2))


def _bought_rows(labels: list[Document], divisor: float) -> list[list[str]]:
    """A row per label; neighbours that share everything but the structure in one."""
    rows = []
    for (step, level, purpose, gain, _), same in groupby(enumerate(labels), _kind):
        members = [label for _, label in same]
        costs = [finite(part(label, "cost")) for label in members]
        known = [cost for cost in costs if cost is not None]
        structures = [text(part(label, "structure")) for label in members[:SHOWN]]
        if len(members) > SHOWN:
            structures.append(f"… ({count(len(members))} in all)")
        rows.append(
            [
                text(step),
                text(level),
                text(purpose),
                ", ".join(structures),
                rounded(gain),
                rounded(part(members[0], "gain_per_cost")),
                rounded(sum(known) / divisor) if known else MISSING,
            ]
        )
    return rows


def _kind(numbered: tuple[int, Document]) -> tuple[Any, ...]:
    """What neighbours in the list must share to stand in one row."""
    index, label = numbered
    gain = finite(part(label, "gain"))
    shared = (part(label, key) for key in ("step", "level", "purpose"))
    return (*shared, gain, None if gain is None else index)
