"""Is the sparse potential as accurate as published ones, and cheaper than gap_fit?

    python -m benchmarks.published_tables.run [--elements Si,Cu] [--peer PATH/python]
        [--repeat 1,2,4] [--smoke]

Every fit and evaluation is a process of its own; what is finished is kept in the work
folder and not measured again with the same settings and data, so that a run that was
interrupted goes on. gap_fit takes part if its Python is named with `--peer`.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.markdown import write_sections
from benchmarks.published_tables.figure import figure
from benchmarks.published_tables.published import PUBLISHED
from benchmarks.published_tables.sets import ELEMENTS, available, mlearn, prepared
from benchmarks.published_tables.sides import GapFit, Mfal, Side, compared, fitted
from benchmarks.published_tables.tables import SIDES, sections
from mfal.data.files import write_text

HERE = Path(__file__).parent
GROWING = "Si"
"""The element whose training set is repeated."""


def main(words: Sequence[str] | None = None) -> None:
    options = _options(words)
    work = options.work / "smoke" if options.smoke else options.work
    source = mlearn(options.smoke)
    elements = options.elements or available(source)
    results = HERE / "results.json"
    document: dict[str, Any] = {"elements": {}, "repeat": []}
    if results.exists() and not options.smoke:  # what is not run now stays
        document |= json.loads(results.read_text())
    document |= {"question": (__doc__ or "").splitlines()[0], "published": PUBLISHED}
    for element in elements:
        files = prepared(element, source, work)
        found = document["elements"].setdefault(element, {})
        found["training"] = {"structures": files.n_structures, "atoms": files.n_atoms}
        for side in _sides(options):
            folder = work / element / side.name
            found[side.name] = compared(
                side, files.train, files.test, folder, options.threads
            )
    if options.repeat:
        element = GROWING if GROWING in elements else elements[0]
        document["repeat"] = growing(element, source, work, options)
    order = [e for e in ELEMENTS if e in document["elements"]]
    document["elements"] = {e: document["elements"][e] for e in order}
    tables = sections(document)
    print("\n\n".join(tables.values()))
    if options.smoke:
        return
    write_text(results, json.dumps(document, indent=1) + "\n")
    write_sections(HERE / "README.md", tables)
    figure(document).savefig(HERE / "errors.png", dpi=200)


def growing(
    element: str, source: Path, work: Path, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Our fits to the training set repeated: what they cost, against the data."""
    rows = []
    for copies in map(int, options.repeat):
        files = prepared(element, source, work, copies)
        folder = work / element / f"mfal_{copies}_copies"
        fit = fitted(
            Mfal(options.config or HERE / "defaults.yaml"),
            files.train,
            folder,
            options.threads,
        )
        sizes = {"structures": files.n_structures, "atoms": files.n_atoms}
        rows.append({"element": element, "copies": copies, **sizes, "fit": fit})
    return rows


def _sides(options: argparse.Namespace) -> list[Side]:
    sides: list[Side] = []
    if "mfal" in options.sides:
        sides.append(Mfal(options.config or HERE / "defaults.yaml"))
    if "mfal_matched" in options.sides and not options.smoke:
        sides.append(Mfal(HERE / "matched.yaml", name="mfal_matched"))
    if "gap_fit" in options.sides and options.peer is not None:
        sides.append(GapFit(options.peer, options.sparse_points, options.sigma))
    return sides


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--elements", type=_words, help="all that are there")
    parser.add_argument("--peer", type=Path, help="a Python that has quippy-ase")
    parser.add_argument(
        "--sides", nargs="+", choices=tuple(SIDES), default=tuple(SIDES)
    )
    parser.add_argument("--config", type=Path, help="FIT.yaml of our fits")
    parser.add_argument("--sparse-points", type=int, help="of gap_fit (1,000)")
    parser.add_argument(
        "--sigma", type=_numbers, default=[0.001, 0.05], help="of gap_fit, eV/atom,eV/A"
    )
    parser.add_argument("--repeat", type=_words, default=[], help="e.g. 1,2,4")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path("campaigns/published-tables"))
    parser.add_argument("--smoke", action="store_true", help="nine frames of Cu")
    options = parser.parse_args(words)
    if options.sparse_points is None:
        options.sparse_points = 50 if options.smoke else 1000
    return options


def _words(text: str) -> list[str]:
    return text.split(",")


def _numbers(text: str) -> list[float]:
    return [float(word) for word in _words(text)]


if __name__ == "__main__":
    main()
