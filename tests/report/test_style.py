import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from mfal.report.style import COLOURS, INK, RC, WIDTH, level_colours

# Viénot, Brettel & Mollon (1999): linear RGB as a dichromat sees it
DICHROMATS = {
    "protanope": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
    "deuteranope": [
        [0.29275, 0.70725, 0],
        [0.29275, 0.70725, 0],
        [-0.02234, 0.02234, 1],
    ],
}


def linear(colour):
    c = np.array(to_rgb(colour))
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def luminance(colour):
    return float(linear(colour) @ [0.2126, 0.7152, 0.0722])


def contrast(colour):
    """Contrast ratio to white (WCAG 2)."""
    return 1.05 / (luminance(colour) + 0.05)


@pytest.mark.parametrize("eye", DICHROMATS)
def test_the_colours_differ_for_every_eye(eye):
    seen = [DICHROMATS[eye] @ linear(colour) for colour in COLOURS.values()]
    for one, other in itertools.combinations(seen, 2):
        assert np.abs(one - other).max() > 0.1


def test_lines_and_text_stand_out_from_white():
    assert contrast(INK) > 7
    assert all(contrast(colour) > 3 for colour in COLOURS.values())


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_a_higher_level_is_darker(n):
    names = [f"level {i}" for i in range(n)]
    shades = [luminance(colour) for colour in level_colours(names).values()]
    assert shades == sorted(shades, reverse=True) and len(set(shades)) == n


def test_text_in_figures_is_at_least_8_points_on_a_phone():
    shown = (390 - 2 * 16) / 96  # inches of a page of 390 pixels between its margins
    sizes = [v for k, v in RC.items() if k.endswith("size") and "marker" not in k]
    assert min(sizes) * shown / WIDTH >= 7.95
