"""The report: one HTML page, with its tables and charts beside it."""

from archgym.lottery.report.page import agents_by_rank, write_report

__all__ = ["agents_by_rank", "write_report"]
