"""The first paragraph: what was bought, what it reached, and whether it paid."""

import re

from mfal.campaign.baseline_words import so_far
from mfal.report.document import (
    MODES,
    Document,
    cost_scale,
    done_in_budget,
    finite,
    highest,
    learning_curve,
    level_names,
    mae_standard_error,
    mode_name,
    part,
)
from mfal.report.typography import (
    ENERGY_UNIT,
    FORCE_UNIT,
    amount,
    count,
    listed,
    percent,
    rounded,
    with_error,
)

MARGIN = 1.05
"""Errors that differ by less than this factor are called equal."""


def bought(document: Document) -> str:
    """What was bought for how much."""
    divisor, unit = cost_scale(document)
    spent = finite(part(document, "budget", "spent"))
    total = finite(part(document, "budget", "total"))
    numbers = {n: done_in_budget(document, n) for n in level_names(document)}
    done = [n if k is None else f"{count(k)} {n}" for n, k in numbers.items()]
    labels = f"{listed(done)} labels of {part(document, 'name') or 'the system'}"
    so_far = "" if part(document, "finished") else "The campaign is not finished. "
    if spent is None:
        return f"{so_far}Bought: {labels.strip()}, at a cost that is not recorded."
    of = "" if total is None else f" of a budget of {amount(total / divisor, unit)}"
    price = f"{amount(spent / divisor, unit)}{of}"
    begin = f"{so_far}So far, for" if so_far else "For"
    return f"{begin} {price}, {labels.strip()} were bought."


def reached(document: Document) -> str:
    """The errors reached, held-out ones in both ways of deployment if there are any."""
    modes = [m for m in MODES if part(document, "evaluation", m)]
    if not modes:
        return _held_out_so_far(document) or _left_out(document)
    n = count(part(document, "evaluation", "n_structures"))
    price = finite(part(document, "budget", "outside", "validation"))
    divisor, unit = cost_scale(document)
    outside = (
        ""
        if price is None
        else f" (bought outside the budget, for {amount(price / divisor, unit)})"
    )
    errors = [
        f"by {_mae(document, mode, 'forces')} in forces and "
        f"{_mae(document, mode, 'energy')} in energies {mode_name(document, mode)}"
        for mode in modes
    ]
    held = [
        f"{percent(part(document, 'evaluation', mode, 'forces', 'coverage_95'))} "
        f"{mode_name(document, mode)}"
        for mode in modes
    ]
    return (
        f"On {n} held-out {highest(document)} labels{outside} the potential errs "
        f"on average {', and '.join(errors)}. "
        f"Of the held-out forces its 95\u00a0% error bars hold {listed(held)}."
    )


def second_level_verdict(document: Document) -> str:
    """Whether the second level paid: as the campaign judged, else from the comparison.

    A level that was left on the way did not.
    A row of the comparison stands for one level if its name holds the word "alone".
    """
    given = part(document, "verdict", "second_level")
    if given:
        return _by_now(document, str(given))
    if len(level_names(document)) == 1:
        return "There is one level only, so no second level could pay."
    left = [part(x, "sentence") for x in part(document, "levels_left") or []]
    if left:
        return f"What was learned left a level: {' '.join(filter(None, left))}"
    rows = _compared(document)
    alone = {n: e for n, e in rows.items() if "alone" in _words(n)}
    joint = {n: e for n, e in rows.items() if n not in alone}
    if not alone or not joint:
        return (
            "Whether the second level paid was not measured: nothing was trained on "
            f"{highest(document)} alone for comparison."
        )
    return _verdict("The second level", joint, alone)


def choosing_verdict(document: Document) -> str:
    """Whether choosing the labels paid: as the campaign judged, else from rows of the
    comparison whose names differ by the word "random" only."""
    given = part(document, "verdict", "choosing")
    if given:
        return _by_now(document, str(given))
    rows = _compared(document)
    filler = {"random", "chosen", "information", "variance", "labels", "by"}
    for name in sorted(rows, key=lambda n: "alone" in _words(n)):
        kind = _words(name) - filler
        chosen = {
            n: e
            for n, e in rows.items()
            if _words(n) - filler == kind and "random" not in _words(n)
        }
        if "random" in _words(name) and chosen:
            return _verdict("Choosing the labels", chosen, {name: rows[name]})
    return (
        "Whether choosing the labels paid was not measured: there is no comparison "
        "with random labels of the same kind."
    )


def _by_now(document: Document, sentence: str) -> str:
    """A verdict of the campaign; on the way, with the step that it was made after."""
    return so_far(document).capitalize() + re.sub(r"\beV/A\b", FORCE_UNIT, sentence)


def batches(document: Document) -> str:
    """How good the batches are at least, and the work that lazy evaluation saved."""
    found = part(document, "batches") or []
    shares = [
        worth / bound
        for worth, bound in (
            (finite(part(b, "worth")), finite(part(b, "upper_bound"))) for b in found
        )
        if worth is not None and bound is not None and bound > 0
    ]
    saved, made = (
        sum(finite(part(b, key)) or 0.0 for b in found)
        for key in ("evaluations_saved", "evaluations")
    )
    said = []
    if shares:
        n = len(shares)
        which = "The batch" if n == 1 else f"Each of {count(n)} batches"
        said.append(
            f"{which} is worth at least {percent(min(shares))} of the best one that "
            "could have been chosen."
        )
    if saved + made > 0:
        said.append(
            f"Of the gains that plain greedy choice would have worked out, "
            f"{percent(saved / (saved + made))} were not needed."
        )
    return " ".join(said)


def _verdict(subject: str, ours: dict[str, float], theirs: dict[str, float]) -> str:
    our, their = min(ours, key=ours.__getitem__), min(theirs, key=theirs.__getitem__)
    paid = theirs[their] > MARGIN * ours[our]
    verb = "paid" if paid else "did not pay"
    return (
        f"{subject} {verb}: the force error is {rounded(ours[our])} {FORCE_UNIT} "
        f"({our}) against {rounded(theirs[their])} {FORCE_UNIT} ({their})."
    )


def _held_out_so_far(document: Document) -> str:
    """The held-out errors of the last step; nothing if it has none."""
    records = learning_curve(document)
    found = part(records[-1], "heldout") if records else None
    errors = [
        " and ".join(
            f"{rounded(value)} {unit} in {name}"
            for key, unit, name in (
                ("forces", FORCE_UNIT, "forces"),
                ("energy", ENERGY_UNIT, "energies"),
            )
            if (value := finite(part(found, mode, key, "mae"))) is not None
        )
        + f" {mode_name(document, mode)}"
        for mode in MODES
        if finite(part(found, mode, "forces", "mae")) is not None
        or finite(part(found, mode, "energy", "mae")) is not None
    ]
    if not errors:
        return ""
    n = finite(part(document, "n_labels_outside", highest(document)))
    begin = f"On {count(n)} held-out" if n else "On the held-out"
    return (
        f"{begin} {highest(document)} labels the potential errs on average by "
        f"{', and by '.join(errors)}, after the last step."
    )


def _left_out(document: Document) -> str:
    errors = [part(record, "loo") for record in learning_curve(document)]
    known = [e for e in errors if finite(part(e, "forces_mae")) is not None]
    if not known:
        return "No errors are known yet: no step has been finished."
    parts = [
        f"{rounded(part(known[-1], key))} {unit} for {name}{_range(known[-1], key)}"
        for key, unit, name in (
            ("forces_mae", FORCE_UNIT, "forces"),
            ("energy_mae", ENERGY_UNIT, "energies"),
        )
        if finite(part(known[-1], key)) is not None
    ]
    return (
        "No held-out errors are known yet; left out of the fit one by one, the "
        f"{highest(document)} labels are predicted with mean absolute errors of "
        f"{listed(parts)}."
    )


def _range(loo: Document, key: str) -> str:
    low, high = (finite(part(loo, f"{key}_{end}")) for end in ("low", "high"))
    if low is None or high is None:
        return ""
    return f" ({rounded(low)} to {rounded(high)})"


def _mae(document: Document, mode: str, quantity: str) -> str:
    unit = FORCE_UNIT if quantity == "forces" else ENERGY_UNIT
    error = mae_standard_error(document, mode, quantity)
    value = with_error(part(document, "evaluation", mode, quantity, "mae"), error)
    return f"{value}\u00a0{unit}"


def _compared(document: Document) -> dict[str, float]:
    """Force error of each row of the comparison that has one."""
    rows = part(document, "comparison") or []
    errors = {str(part(r, "name")): finite(part(r, "forces_mae")) for r in rows}
    return {name: error for name, error in errors.items() if error is not None}


def _words(name: str) -> set[str]:
    return set(name.lower().replace(",", " ").split())
