"""The structures to turn and look at: a page of its own, if chemiscope is installed.

The page holds the viewer (some 3 MB) and the structures of the map, and asks for nothing
over a network. Source: Fraux, Cersonsky, Ceriotti (2020), J. Open Source Softw. 5, 2117.
"""

import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ase import Atoms

from mfal.data.files import write_atomically

PAGE = "structures.html"
_VIEWER = Path("sphinx") / "static" / "chemiscope.min.js"
_LAYOUT = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Structures of the pool</title>
<style>
body { margin: 0; padding: .75rem; font: 1rem/1.5 system-ui, sans-serif; }
#view { display: grid; gap: .75rem; grid-template-columns: 1fr 1fr; }
#map, #structure { position: relative; height: 34rem; min-width: 0; }
@media (max-width: 50rem) { #view { grid-template-columns: 1fr; }
  #map, #structure { height: 24rem; } }
</style>
</head>
<body>
<p><a href="report.html">Back to the report</a>. Select a point to see its structure.</p>
<div id="view"><div><div id="meta"></div><div id="map"></div></div>
<div><div id="structure"></div><div id="info"></div></div></div>
"""
_START = """
const warnings = new Chemiscope.Warnings();
warnings.addHandler((message) => console.warn(message));
const data = JSON.parse(document.getElementById("data").textContent);
const places = {map: "map", info: "info", meta: "meta", structure: "structure"};
Chemiscope.DefaultVisualizer.load(places, data, warnings).then(
  () => { document.body.dataset.loaded = "yes"; });
"""


def write_structures(
    directory: Path,
    pool: Sequence[tuple[int, Atoms, str]],
    found: Mapping[str, Any] | None,
) -> str | None:
    """Write the page of the structures of a map; its name, or `None` without chemiscope.

    `pool` are (id, atoms, role). Nothing is written without a map either.
    """
    if found is None or find_spec("chemiscope") is None:
        return None
    import chemiscope  # an extra

    points = found["points"]
    by_id = {structure: atoms for structure, atoms, _ in pool}
    levels = list(dict.fromkeys(level for p in points for level in p["steps"]))
    properties: dict[str, Any] = {
        "PC 1": [p["x"] for p in points],
        "PC 2": [p["y"] for p in points],
        "structure": [p["structure"] for p in points],
        "role": [p["role"] for p in points],
    }
    for level in levels:  # chemiscope needs a number: zero is before the first step
        steps = [p["steps"].get(level, 0) for p in points]
        properties[f"step of the {level} label (0: none)"] = steps
    data = chemiscope.create_input(
        [by_id[p["structure"]] for p in points],
        properties={
            name: {"target": "structure", "values": values}
            for name, values in properties.items()
        },
        metadata={"name": "pool", "description": found["descriptor"]},
        settings=chemiscope.quick_settings(
            x="PC 1", y="PC 2", map_color=list(properties)[-1]
        ),
    )
    viewer = Path(chemiscope.__file__).parent / _VIEWER
    text = json.dumps(data).replace("</", "<\\/")
    script = viewer.read_text("utf-8").replace("</script", "<\\/script")
    page = (
        f'{_LAYOUT}<script type="application/json" id="data">{text}</script>\n'
        f"<script>{script}</script>\n<script>{_START}</script>\n</body>\n</html>\n"
    )
    write_atomically(directory / PAGE, page.encode())
    return PAGE
