"""The report: one page, one Markdown table and one JSON file from folders of results.

Last in the flow: it reads what evaluation/results.py wrote, and computes means, differences and
their intervals.
"""
