import json
import re

import pytest
from ase.build import molecule

from mfal.report.outlook import pool
from mfal.report.structures import PAGE, write_structures

MAP = {
    "descriptor": "inverse distances",
    "points": [
        {"structure": 3, "role": "target", "x": 0.0, "y": 1.0, "steps": {}},
        {"structure": 7, "role": "candidate", "x": 2.0, "y": 1.0, "steps": {"pbe": 4}},
    ],
}
POOL = [(i, molecule(name), "x") for i, name in ((3, "H2O"), (5, "CH4"), (7, "NH3"))]


def test_the_viewer_holds_the_structures_of_the_map(tmp_path):
    pytest.importorskip("chemiscope", reason="the extra `report` is not installed")
    assert write_structures(tmp_path, POOL, MAP) == PAGE
    page = (tmp_path / PAGE).read_text("utf-8")
    data = json.loads(re.search(r'id="data">(.*?)</script>', page).group(1))
    assert [s["names"] for s in data["structures"]] == [
        ["O", "H", "H"],
        ["N", "H", "H", "H"],
    ]
    properties = data["properties"]
    assert properties["structure"]["values"] == [3, 7]
    assert properties["step of the pbe label (0: none)"]["values"] == [0, 4]
    assert page.count("<script") - page.count('"<script') >= 3
    assert not re.search(r'<(script|link)[^>]+(src|href)="', page)


def test_without_chemiscope_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("mfal.report.structures.find_spec", lambda name: None)
    assert write_structures(tmp_path, POOL, MAP) is None
    assert list(tmp_path.iterdir()) == []


def test_the_page_says_how_to_get_it_or_where_it_is():
    assert "pip install 'mfal[report]'" in pool({}, {})
    found = pool({"structures": PAGE}, {})
    assert f'href="{PAGE}"' in found and "pip install" not in found
