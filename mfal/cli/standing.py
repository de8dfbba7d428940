"""How a campaign stands, in rows and sentences made from its document."""

from collections.abc import Iterator, Mapping
from typing import Any

from mfal.campaign.baseline_words import so_far
from mfal.campaign.records import GIVEN_UP

Document = Mapping[str, Any]


def title(document: Document) -> str:
    """Name, what is spent, and of how much."""
    budget = document["budget"]
    total = "?" if budget["total"] is None else f"{budget['total']:.4g}"
    return (
        f"{document['name']}: spent {budget['spent']:.4g} of {total} {budget['unit']}"
    )


def level_rows(document: Document) -> list[list[str]]:
    """Heads, then per level: asked, states, mean cost, what the rest would buy of it.

    Failed counts what was given up, quarantined labels too.
    """
    rows = [
        [
            *("level", "asked", "waiting", "running", "done", "failed"),
            *("mean cost", "rest buys"),
        ]
    ]
    for name, states in document["n_labels"].items():
        cost = document["cost_model"].get(name)
        rows.append(
            [
                name,
                str(sum(states.values())),
                *(str(states.get(s, 0)) for s in ("pending", "running", "done")),
                str(sum(states.get(s, 0) for s in GIVEN_UP)),
                "" if cost is None else f"{cost['mean']:.3g}",
                _affordable(document, cost),
            ]
        )
    return rows


def sentences(document: Document) -> Iterator[str]:
    """What was learned, what is awaited, what went wrong, and whether it is over."""
    yield from _learned(document)
    for level in document["levels"]:
        waiting = document["n_labels"].get(level["name"], {}).get("pending", 0)
        if level["oracle"].get("code") == "manual" and waiting:
            yield (
                f"{waiting} labels of {level['name']} wait for results in the folder "
                "`manual`"
            )
    for left in document["levels_left"]:
        yield f"step {left['step']}: {left['sentence']}"
    for found in document.get("explorations", [])[-1:]:
        yield f"step {found['step']}: {found['sentence']}"
    yield from document.get("notices", [])[:5]
    for failure in document["failures"][-3:]:
        yield (
            f"structure {failure['structure']} at {failure['level']} is "
            f"{failure['state']}, {failure['kind']}: {failure['message']}"
        )
    repairs = (document["model"] or {}).get("repairs", {})
    for name, number in {**document["events"], **repairs}.items():
        if not number:
            continue
        name = name.replace("_", " ")
        yield f"{name}: {number}"
    yield from _compared(document)
    yield from document["forecast"]["sentences"]
    if document["finished"]:
        yield document["stopping_reason"] or "done"
    else:
        yield "not finished: `mfal run` resumes it"


def _compared(document: Document) -> Iterator[str]:
    """Whether the second level and the choosing paid; on the way, by which step."""
    for sentence in (document.get("verdict") or {}).values():
        yield so_far(document) + sentence


def _affordable(document: Document, cost: Mapping[str, float] | None) -> str:
    """Number of labels, were all of the rest spent on this level: by the mean cost."""
    budget = document["budget"]
    if cost is None or budget["total"] is None or document["finished"]:
        return ""
    left = max(budget["total"] - budget["spent"], 0.0)
    if not cost["mean"] > 0:
        return ""
    few, many = (int(left / cost[end]) for end in ("high", "low"))
    mean = int(left / cost["mean"])
    return str(mean) if few == many else f"{mean} ({few} to {many})"


def _learned(document: Document) -> Iterator[str]:
    """rho, errors and calibration after the last step that learned something."""
    if not document["learning_curve"]:
        return
    last = document["learning_curve"][-1]
    model = document["model"] or {}
    names = model.get("levels", [])
    errors = last.get("rho_standard_error") or []
    for i, rho in enumerate(last.get("rho") or []):
        if i + 1 < len(names):
            error = errors[i] if i < len(errors) and errors[i] is not None else None
            plus = "" if error is None else f" +- {error:.1g}"
            yield f"rho, {names[i]} to {names[i + 1]}: {rho:.3f}{plus}"
    loo = last["loo"]
    if loo.get("energy_mae") is not None:
        yield (
            f"leave-one-out errors (step {last['step']}, {_way(last['loo_mode'])}): "
            f"energy MAE {loo['energy_mae']:.3g} meV/atom"
            + (
                f", force MAE {loo['forces_mae']:.3g} eV/A"
                if loo.get("forces_mae") is not None
                else ""
            )
        )
    for mode, found in (last["heldout"] or {}).items():
        words = [
            f"{name} MAE {found[name]['mae']:.3g} {unit} (ECE {found[name]['ece']:.2f})"
            for name, unit in (("energy", "meV/atom"), ("forces", "eV/A"))
            if found.get(name)
        ]
        yield f"held-out errors, {_way(mode)}: {', '.join(words)}"


def _way(mode: str) -> str:
    return mode.replace("at_hand", "with the low level at hand")
