"""Read a label file that lies beside a manifest: one line per utterance, in the manifest's order.

Training with distinct speakers, baselines, evaluations, `mgf score` and `mgf units` read theirs
here; label_format.py says what a line means.
"""

from __future__ import annotations

from pathlib import Path

from .entries import ManifestError
from .text import read_lines


def read_label_lines(
    manifest: Path, ending: str, rows: int, fix: str = "run mgf prepare again, which writes both"
) -> list[str]:
    """The lines of the label file with a manifest's name and this ending.

    Args:
        manifest: the .tsv.
        ending: such as ltr.
        rows: utterances of the manifest.
        fix: what makes both again.

    Raises:
        ManifestError: the file does not have one line per utterance.
        TextError: it is not UTF-8.
        OSError: there is no such file.
    """
    path = manifest.with_suffix(f".{ending}")
    lines = read_lines(path, "utf-8")
    if len(lines) != rows:
        raise ManifestError(
            f"{path}: {len(lines)} lines for {rows} utterances, so they are not of this manifest: "
            f"{fix}"
        )
    return lines
