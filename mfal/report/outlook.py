"""Sections on what else could have been bought, what will be, the pool and the time."""

from mfal.campaign import forecast as forecasts
from mfal.report import replayed, tables
from mfal.report.document import QUANTITIES, Document, highest, level_names, part
from mfal.report.drawing import Drawing
from mfal.report.markup import bullets, figures, missing, paragraph, pictured, section
from mfal.report.pool import map_points
from mfal.report.timeline import utilisation
from mfal.report.typography import count, sentence, text


def baselines(results: Document, drawings: dict[str, Drawing]) -> str:
    """What random and single-level labels would have reached."""
    there = [
        drawings[f"baselines_{q}"] for q in QUANTITIES if f"baselines_{q}" in drawings
    ]
    lower = " and ".join(level_names(results)[:-1])
    joint = f" Joint curves include what all {lower} labels have cost." if lower else ""
    note = (
        f"No label was bought for this. The held-out {highest(results)} labels are random "
        "ones: models are trained on some of them and tested on the others, a quarter at "
        "a time; chosen labels are the first ones that were bought, tested on the same. "
        "Bars are 95 % intervals over the held-out structures. They do not hold the luck "
        f"of the draw of the labels, of which there are four.{joint}"
    )
    return section(
        "Against random and single-level labels",
        paragraph(text(note)) if there else "",
        paragraph(text(said))
        if (said := replayed.random_labels_needed(results))
        else "",
        figures(there) if there else "",
        tables.comparison_table(results),
    )


def forecast(results: Document) -> str:
    """What the rest of the budget will buy, or what going on would."""
    found = part(results, "forecast") or forecasts.forecast(results)
    over = part(results, "finished")
    return section(
        "What going on would buy" if over else "What the rest will buy",
        bullets(sentence(said) for said in part(found, "sentences") or []),
    )


def pool(results: Document, drawings: dict[str, Drawing]) -> str:
    """The map of the pool, and the way to its structures."""
    shown, whole = map_points(results), part(results, "map", "n_structures")
    some = f" {count(len(shown))} of {count(whole)} structures are shown."
    note = (
        "Near points are alike. First two principal components of "
        f"{part(results, 'map', 'descriptor') or 'the descriptor'}."
        f"{some if whole and whole > len(shown) else ''}"
    )
    otherwise = (
        "There is no map: it is made from the campaign's store (campaign.sqlite), which "
        "does not lie beside this page, or the pool holds fewer than three structures."
    )
    there = [drawings[n] for n in ("map_levels", "map_steps") if n in drawings]
    page = part(results, "structures")
    turn = (
        f'<a href="{text(page)}">Turn and compare the structures</a> (a file that lies '
        "beside this page)."
        if page
        else "To turn and compare the structures: <code>pip install 'mfal[report]'</code>"
        " (chemiscope), then <code>mfal report DIR</code>."
    )
    return section(
        "Map of the pool",
        paragraph(text(note)) if there else missing(otherwise),
        figures(there) if there else "",
        paragraph(turn),
    )


def timeline(results: Document, drawings: dict[str, Drawing]) -> str:
    """When the labels ran."""
    title = "Workers and time"
    if "timeline" not in drawings:
        none = "No times are known: labels were replayed, or the store is not at hand."
        return section(title, missing(none))
    note = utilisation(results)
    return pictured(title, drawings, ["timeline"], note, "")
