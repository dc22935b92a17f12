"""Whether the test recordings of a task were in the pre-training data of an upstream.

Between the marks inside checkpoints (checkpoints/pretraining_data.py) and the results.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..checkpoints.pretraining_data import look_up, read_marks
from ..extract.upstream import Upstream
from .results import UNTRAINED, Overlap


def find_overlap(upstream: Upstream, recordings: Sequence[str]) -> Overlap | None:
    """Look test recordings up; None for what is not pre-trained.

    Args:
        upstream: whose checkpoint holds the marks, or none.
        recordings: as ``recordings_of`` and ``LabeledManifest.recording`` name them.
    """
    if upstream.kind in UNTRAINED:
        return None
    held = read_marks(Path(str(upstream.info["path"])))
    if held is None:
        return Overlap(recordings=len(recordings), looked_up=0, seen=0, by="")
    found = look_up(held, recordings)
    return Overlap(
        recordings=found.recordings, looked_up=found.looked_up, seen=found.seen, by=found.by
    )
