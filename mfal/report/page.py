"""The page of a campaign: one HTML file that needs nothing else to be read."""

from pathlib import Path

from matplotlib.figure import Figure

from mfal.data.files import write_atomically
from mfal.report import labels, outlook, sections, tables
from mfal.report.document import MODES, QUANTITIES, Document, part
from mfal.report.drawing import Drawing
from mfal.report.errors import draw_calibration, draw_parity
from mfal.report.files import png
from mfal.report.markup import section
from mfal.report.pool import draw_map_of_levels, draw_map_of_steps
from mfal.report.progress import draw_learning_curve, draw_rho, draw_spending
from mfal.report.replayed import draw_strategies
from mfal.report.stored import stored_parts
from mfal.report.style import page_css
from mfal.report.timeline import draw_timeline
from mfal.report.typography import text

FORMAT = 1


def write_report(results: Document, directory: Path) -> Path:
    """Write `report.html` and `figures/*.png` into a directory; the page's path.

    The page and the figures are functions of `results` and of the store in the directory
    (for the map of the pool and the times), if one is there: the same ones give the same
    bytes. Parts that are missing are named as missing on the page. With chemiscope
    installed there is `structures.html`, too.

    Raises:
        ValueError: results of a format that this version does not know.
        OSError: a file could not be written; what stood there before still stands.
    """
    if part(results, "format") != FORMAT:
        raise ValueError(
            f"the results are of format {part(results, 'format')!r}, a report can be "
            f"made of format {FORMAT}: run the version of mfal that wrote them"
        )
    results = {**stored_parts(directory), **results}
    drawings = every_drawing(results)
    folder = directory / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    for drawing in drawings.values():
        write_atomically(folder / f"{drawing.name}.png", png(drawing.figure))
    page = directory / "report.html"
    write_atomically(page, render_page(results, drawings).encode())
    return page


def draw_figures(results: Document, directory: Path) -> dict[str, Figure]:
    """Every figure of `write_report` for which there are data, by name.

    They are Matplotlib figures, to be shown or changed. Nothing is written; `results`
    and `directory` are those of `write_report`.
    """
    drawings = every_drawing({**stored_parts(directory), **results})
    return {name: drawing.figure for name, drawing in drawings.items()}


def every_drawing(results: Document) -> dict[str, Drawing]:
    """Every figure for which the results have data, by name."""
    drawn = [
        *(draw_learning_curve(results, quantity) for quantity in QUANTITIES),
        *(draw_strategies(results, quantity) for quantity in QUANTITIES),
        *(draw_parity(results, m, q) for q in QUANTITIES for m in MODES),
        *(draw_calibration(results, quantity) for quantity in QUANTITIES),
        draw_spending(results),
        draw_rho(results),
        draw_timeline(results),
        draw_map_of_levels(results),
        draw_map_of_steps(results),
    ]
    return {drawing.name: drawing for drawing in drawn if drawing is not None}


def render_page(results: Document, drawings: dict[str, Drawing]) -> str:
    """The page as HTML, with these figures inlined."""
    name = text(part(results, "name") or "campaign")
    body = "\n".join(
        [
            sections.opening(results),
            sections.stopping(results),
            sections.noticed(results),
            sections.reached(results),
            sections.learning(results, drawings),
            outlook.baselines(results, drawings),
            outlook.forecast(results),
            sections.parity(results, drawings),
            sections.calibration(drawings),
            sections.spending(results, drawings),
            sections.rho(results, drawings),
            outlook.pool(results, drawings),
            sections.explored(results),
            section("The model in numbers", tables.model_table(results)),
            section("Failed and quarantined labels", labels.failure_table(results)),
            sections.bought(results),
            outlook.timeline(results, drawings),
            sections.execution(results),
        ]
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{name}: report of a campaign</title>\n"
        f"<style>\n{page_css()}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n"
        "</body>\n</html>\n"
    )
