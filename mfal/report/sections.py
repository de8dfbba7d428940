"""The sections of the page: each function takes the document and gives HTML."""

import json
import re

from mfal.report import labels, tables, wording
from mfal.report.document import (
    MODES,
    QUANTITIES,
    Document,
    cost_scale,
    finite,
    highest,
    level_names,
    part,
)
from mfal.report.drawing import Drawing
from mfal.report.errors import MAX_POINTS
from mfal.report.markup import (
    bullets,
    definitions,
    missing,
    paragraph,
    pictured,
    section,
)
from mfal.report.typography import (
    MISSING,
    amount,
    duration,
    formula,
    listed,
    moment,
    rounded,
    text,
)

MOST_NOTICES = 20
_UNIT = re.compile(r"(?<=\s)m?eV/(?:Å|atom)")  # a browser would break it at the slash


def opening(results: Document) -> str:
    """Title, the first paragraph, why it stopped, and the plan."""
    levels = " → ".join(text(level) for level in level_names(results))
    n_atoms = part(results, "system", "n_atoms")
    updated = part(results, "updated")
    about = [
        formula(part(results, "system", "formula")),
        f"{text(n_atoms)} atoms" if n_atoms else "",
        levels,
        f"updated {text(moment(updated))}" if updated else "",
    ]
    lead = " ".join(
        text(sentence)
        for sentence in (
            wording.bought(results),
            wording.reached(results),
            wording.second_level_verdict(results),
            wording.choosing_verdict(results),
        )
    )
    reason = part(results, "stopping_reason")
    return "\n".join(
        [
            f"<h1>{text(part(results, 'name') or 'campaign')}</h1>",
            paragraph(" · ".join(filter(None, about)), "about"),
            paragraph(_UNIT.sub(r'<span class="unit">\g<0></span>', lead), "lead"),
            paragraph(f"Stopped: {text(reason).rstrip('.')}.") if reason else "",
            bullets(text(sentence) for sentence in part(results, "plan") or []),
        ]
    )


def stopping(results: Document) -> str:
    """What was asked for before it stops, and how far that is; nothing if nothing was."""
    found = []
    for asked in part(results, "stopping") or []:
        sentences = [
            f"{'Holds' if part(c, 'met') else 'Open'}: {text(part(c, 'sentence'))}"
            for c in part(asked, "conditions") or []
        ]
        n, patience = (text(part(asked, k)) for k in ("steps_met", "patience"))
        errors = text(part(asked, "errors"))
        held = f"All held in {n} of the {patience} last steps ({errors})."
        found += [bullets(sentences), paragraph(held)]
    return section("What was asked for", *found) if found else ""


def noticed(results: Document) -> str:
    """What a person should look at after the last fit; nothing if there is nothing."""
    notices = [text(sentence) for sentence in part(results, "notices") or []]
    if not notices:
        return ""
    more = len(notices) - MOST_NOTICES
    rest = paragraph(f"And {more} more, in <code>results.json</code>.")
    return section(
        "Look at these", bullets(notices[:MOST_NOTICES]), rest if more > 0 else ""
    )


def explored(results: Document) -> str:
    """What dynamics with the potential found, step by step; nothing if none was run."""
    found = [
        text(f"Step {part(x, 'step')}: {part(x, 'sentence')}")
        for x in part(results, "explorations") or []
    ]
    return section("What was explored", bullets(found)) if found else ""


def reached(results: Document) -> str:
    """Held-out errors in numbers."""
    return section(
        "What it reached",
        tables.metrics_table(results),
        paragraph(
            "Standalone, the potential predicts by itself. With the lower level at "
            "hand, that level is computed for every structure and the potential adds "
            "what it lacks."
        )
        if len(level_names(results)) > 1
        else "",
    )


def learning(results: Document, drawings: dict[str, Drawing]) -> str:
    """Error against cost."""
    return pictured(
        "Learning curve",
        drawings,
        [f"learning_curve_{q}" for q in QUANTITIES],
        f"Leave-one-out: every {highest(results)} label is predicted by a model that "
        "has not seen it; the band is the uncertainty of the mean of these errors.",
        "There is no learning curve yet: no step has been finished.",
    )


def parity(results: Document, drawings: dict[str, Drawing]) -> str:
    """Held-out predictions against the labels."""
    return pictured(
        "Predicted against computed",
        drawings,
        [f"parity_{q}_{m}" for q in QUANTITIES for m in MODES],
        "Held-out labels. Bars are one calibrated standard deviation; the lower panel "
        "shows them enlarged. Energies are relative to their mean. At most "
        f"{MAX_POINTS} points are drawn.",
        "No held-out predictions to show yet.",
    )


def calibration(drawings: dict[str, Drawing]) -> str:
    """Whether the error bars are true."""
    return pictured(
        "Do the error bars mean what they say?",
        drawings,
        [f"calibration_{q}" for q in QUANTITIES],
        "Below the diagonal the error bars are too small, above it too large. Raw: as "
        "the model gives them; calibrated: scaled by the leave-one-out errors.",
        "No calibration curve yet: it needs held-out labels.",
    )


def spending(results: Document, drawings: dict[str, Drawing]) -> str:
    """What was spent, and on which labels."""
    return pictured(
        "Where the budget went",
        drawings,
        ["spending"],
        "",
        "Nothing has been spent yet, or it was not recorded.",
        tables.level_table(results),
    )


def rho(results: Document, drawings: dict[str, Drawing]) -> str:
    """How the levels are related."""
    if len(level_names(results)) == 1:
        return section("Scale between the levels", missing("There is one level only."))
    return pictured(
        "Scale between the levels",
        drawings,
        ["rho"],
        "A level is ρ times the one below it plus a discrepancy. ρ near 1: both "
        "describe the same surface; near 0: the lower level is of no use.",
        "ρ has not been learned yet.",
        _diagnosis(results),
    )


def _diagnosis(results: Document) -> str:
    left = part(results, "levels_left") or []
    said = [
        part(results, "diagnosis", "sentence"),
        *(f"Step {part(x, 'step')}: {part(x, 'sentence')}" for x in left),
    ]
    return "".join(paragraph(text(sentence)) for sentence in said if sentence)


def bought(results: Document) -> str:
    """The labels in order, and how good their choice is at least."""
    said = wording.batches(results)
    return section(
        "What was bought",
        paragraph(text(said)) if said else "",
        labels.bought_table(results),
    )


def execution(results: Document) -> str:
    """How the campaign was run."""
    divisor, unit = cost_scale(results)
    outside = [
        f"{amount(value / divisor, unit)} for {purpose}"
        for purpose, cost in (part(results, "budget", "outside") or {}).items()
        if (value := finite(cost)) is not None
    ]
    ratio = finite(part(results, "cost_ratio"))
    levels = part(results, "levels") or []
    names = level_names(results)
    pairs = [
        *((text(part(level, "name")), _oracle(level)) for level in levels),
        ("outside the budget", text(listed(outside) or "nothing recorded")),
        (
            f"one {text(highest(results))} label costs",
            f"{rounded(ratio)} {text(names[0])} labels" if names and ratio else MISSING,
        ),
        ("wall time", duration(part(results, "execution", "wall_seconds"))),
        ("workers", text(part(results, "execution", "workers"))),
        ("times resumed", text(part(results, "execution", "resumed"))),
        ("started", text(moment(part(results, "started")))),
        ("updated", text(moment(part(results, "updated")))),
        ("mfal version", text(part(results, "mfal_version"))),
    ]
    return section("How it was run", definitions(pairs))


def _oracle(level: Document) -> str:
    """How a level is computed, in one line."""
    oracle = part(level, "oracle")
    words = json.dumps(oracle, ensure_ascii=False, sort_keys=True) if oracle else ""
    quantities = ", ".join(filter(None, part(level, "quantities") or []))
    plain = words.strip("{}").replace('"', "")
    return f"{text(quantities)}<br><code>{text(plain)}</code>"
