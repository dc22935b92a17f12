"""The page of the report: its sections, its tables and its style sheet."""
