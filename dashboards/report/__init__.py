"""The report as one HTML file: nothing is loaded, nothing runs, every name is escaped. Pure.

page(report(reader, wanted))  ->  "<!doctype html>…"
"""

from dashboards.report.page import page

__all__ = ["page"]
