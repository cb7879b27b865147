"""Reports: run folders as one HTML page that opens offline. Reads files alone, and never imports torch."""

from fpnas.report.page import write_report

__all__ = ["write_report"]
