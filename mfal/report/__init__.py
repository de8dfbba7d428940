"""The page that shows what a campaign bought and what it reached, and its figures."""

from mfal.report.page import draw_figures, write_report

__all__ = ["draw_figures", "write_report"]
