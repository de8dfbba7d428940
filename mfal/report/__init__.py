"""The page that shows what a campaign bought and what it reached."""

from mfal.report.page import write_report

__all__ = ["write_report"]
