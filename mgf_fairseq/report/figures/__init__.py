"""The figures of the report, and which of them a report shows."""
