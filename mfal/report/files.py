"""Figures as bytes, and files that are either the old or the new one, never half."""

import io

import matplotlib
from matplotlib.figure import Figure

from mfal.report.style import RC

_NO_METADATA = {"Creator": None, "Date": None, "Format": None, "Type": None}


def png(figure: Figure) -> bytes:
    """The figure as a PNG image."""
    stream = io.BytesIO()
    with matplotlib.rc_context(RC):
        figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def svg(figure: Figure) -> bytes:
    """The figure as an SVG image; the same figure gives the same bytes."""
    stream = io.BytesIO()
    with matplotlib.rc_context(RC):
        figure.savefig(stream, format="svg", metadata=_NO_METADATA)
    return stream.getvalue()
