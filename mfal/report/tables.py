"""The tables of the page: each function takes the document and gives HTML."""

from typing import Any

from mfal.campaign.records import GIVEN_UP
from mfal.report.document import (
    MODES,
    Document,
    cost_scale,
    done_in_budget,
    finite,
    level_names,
    mode_name,
    part,
)
from mfal.report.markup import definitions, missing, table
from mfal.report.typography import (
    ENERGY_UNIT,
    FORCE_UNIT,
    MISSING,
    count,
    percent,
    rounded,
    text,
    unbroken,
    with_error,
)

KERNELS = {"matern52": "Matérn 5/2", "rbf": "RBF"}


def metrics_table(document: Document) -> str:
    """Held-out errors and calibration, a column per quantity and way of deployment."""
    modes = [m for m in MODES if part(document, "evaluation", m)]
    if not modes:
        return missing(
            "There is no held-out evaluation yet: it is made when the campaign ends."
        )
    columns = [(q, m) for q in ("forces", "energy") for m in modes]
    units = {"forces": FORCE_UNIT, "energy": ENERGY_UNIT}
    head = [
        f"{q}<small>{text(mode_name(document, m))}<br>{units[q]}</small>"
        for q, m in columns
    ]
    rows = [
        [title, *(form(part(document, "evaluation", m, q, key)) for q, m in columns)]
        for title, key, form in (
            ("mean absolute error", "mae", rounded),
            ("root mean square error", "rmse", rounded),
            ("largest error", "max", rounded),
            ("inside 68\u00a0% bars", "coverage_68", percent),
            ("inside 95\u00a0% bars", "coverage_95", percent),
            ("calibration error", "ece", _fine_percent),
            ("spread of error / sigma", "z_std", rounded),
            ("− log likelihood", "nll", rounded),
        )
    ]
    caption = (
        f"Errors on {count(part(document, 'evaluation', 'n_structures'))} held-out "
        "structures. Energies per atom."
    )
    return table(caption, ["", *head], rows)


def comparison_table(document: Document) -> str:
    """What other choices of labels reach, with intervals; the least error is bold."""
    rows = part(document, "comparison") or []
    if not rows:
        return missing(
            "Nothing was trained for comparison. It is done when a campaign ends, with "
            "comparison: true and at least 12 held-out labels (validation: 12 or more), "
            "and takes no label."
        )
    keys = ("forces_mae", "energy_mae")
    best = {
        k: min((v for r in rows if (v := finite(part(r, k))) is not None), default=None)
        for k in keys
    }

    def cell(row: Any, key: str) -> str:
        value = finite(part(row, key))
        shown = rounded(value)
        if value is not None and value == best[key]:
            shown = f"<strong>{shown}</strong>"
        low, high = (finite(part(row, f"{key}_{end}")) for end in ("low", "high"))
        if low is None or high is None:
            return shown
        return f"{shown}<small>{rounded(low)} to {rounded(high)}</small>"

    notes = [str(part(row, "note") or "") for row in rows]
    usual = max(notes, key=notes.count) if len(notes) > 1 else ""
    body = []
    for row in rows:
        note = part(row, "note")
        small = f"<small>{text(note)}</small>" if note and note != usual else ""
        n_high = count(part(row, "n_high"))
        name = text(part(row, "name")) + small
        body.append([name, n_high, *(cell(row, key) for key in keys)])
    head = [
        "trained on",
        "high labels",
        f"force MAE<small>{FORCE_UNIT}</small>",
        f"energy MAE<small>{ENERGY_UNIT}</small>",
    ]
    caption = (
        f"Errors, below them 95\u00a0% intervals where known{': ' * bool(usual)}"
        f"{text(usual) if usual else ''}, unless a row says otherwise."
    )
    return table(caption, head, body)


def level_table(document: Document) -> str:
    """Labels and costs per level."""
    divisor, unit = cost_scale(document)
    body = []
    for name in level_names(document):
        model = part(document, "cost_model", name)
        low, high = (finite(part(model, end)) for end in ("low", "high"))
        spread = (
            ""
            if low is None or high is None
            else (f"<small>{rounded(low, 2)} to {rounded(high, 2)}</small>")
        )
        spent = finite(part(document, "budget", "spent_per_level", name))
        body.append(
            [
                text(name),
                count(done_in_budget(document, name)),
                *(count(part(document, "n_labels", name, state)) for state in GIVEN_UP),
                MISSING if spent is None else rounded(spent / divisor),
                rounded(part(model, "mean"), 2) + spread,
            ]
        )
    if not body:
        return missing("No levels are recorded.")
    raw_unit = text(unbroken(str(part(document, "budget", "unit") or "CPU s")))
    head = [
        "level",
        "done",
        "failed",
        "quaran\u00adtined",
        f"spent<small>{text(unbroken(unit))}</small>",
        f"one label<small>{raw_unit}</small>",
    ]
    return table("Labels and their cost; a failed label is charged too.", head, body)


def model_table(document: Document) -> str:
    """Numbers of the fitted model."""
    model, names = part(document, "model"), level_names(document)
    if not model:
        return missing("No model has been fitted yet.")
    noise = [part(model, "noise", name) for name in names]
    forces = [finite(part(n, "forces")) for n in noise]
    rows = [
        ["kernel", *(_kernel(part(model, "kernels", n)) for n in names)],
        ["lengthscale", *(_several(part(model, "lengthscale", n)) for n in names)],
        [
            f"noise of energies<small>{ENERGY_UNIT}</small>",
            *(rounded(part(n, "energy")) for n in noise),
        ],
        [
            "noise of forces<small>meV/Å</small>",
            *(rounded(None if f is None else 1000 * f) for f in forces),
        ],
    ]
    errors = part(model, "rho_standard_error") or []
    rho = [
        (
            f"ρ, {text(names[i])} to {text(names[i + 1])}",
            with_error(value, errors[i] if i < len(errors) else None),
        )
        for i, value in enumerate(part(model, "rho") or [])
        if i + 1 < len(names)
    ]
    repairs = part(model, "repairs") or {}
    told = "; ".join(
        f"{text(str(name).replace('_', ' '))}: {text(number)}"
        for name, number in repairs.items()
        if number
    )
    pairs = [
        ("engine", text(part(model, "kind"))),
        *rho,
        ("permutations of like atoms", count(part(model, "n_permutations"))),
        ("log evidence", rounded(part(model, "log_evidence"), 6)),
        ("repairs of the fit", told or "none"),
    ]
    caption = "Of the lowest level, then of each discrepancy."
    return table(caption, ["", *map(text, names)], rows) + definitions(pairs)


def _fine_percent(fraction: Any) -> str:
    return percent(fraction, digits=1)


def _kernel(name: Any) -> str:
    return KERNELS.get(str(name), text(name))


def _several(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(rounded(v) for v in value)
    return rounded(value)
