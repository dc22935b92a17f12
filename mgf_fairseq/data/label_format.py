"""The symbols of label files that have a meaning of their own.

Written by `mgf prepare`; read by `mgf check` and the evaluations.
"""

from __future__ import annotations

UNLABELLED = "-"  # a frame whose center no segment covers; it is in no dictionary
