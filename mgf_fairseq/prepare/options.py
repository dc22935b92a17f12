"""The options of `mgf prepare`, with the checks of their values.

The verb fills them in; every step of the preparation reads them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from .corpora.base import PrepareError, Search
from .corpora.registry import LAYOUTS
from .label_files import LABEL_KINDS
from .path_labels import check_ending, path_groups

SPLIT_BY = ("fraction", "speaker")


@dataclass(frozen=True)
class PrepareOptions:
    """The options of `mgf prepare`; bad values raise PrepareError by name."""

    source: Path
    dest: Path
    layout: str = "auto"
    search: Search = field(default_factory=Search)
    valid_percent: float = 0.01  # a share between 0 and 1, as in fairseq's wav2vec_manifest.py
    test_percent: float = 0.0
    seed: int = 42
    split_by: str | None = None  # None: the table's own split column, else by fraction
    split_list: Path | None = None
    sample_rate: int = 16000  # Hz
    segment_seconds: float | None = None
    vad: bool = False  # cut in pauses, by energy, instead of into equal pieces
    labels: tuple[str, ...] | None = None  # None: whatever the corpus has
    label_from: str | None = None  # a regular expression of paths, with named groups
    spm_vocab_size: int = 1000
    case: str = "upper"
    workers: int = 4
    convert: bool = False  # write all audio as mono FLAC of `sample_rate`, below `dest`
    caveats: tuple[str, ...] = ()  # sentences that go into every result file, beside the corpus's

    def __post_init__(self) -> None:
        for name in ("valid_percent", "test_percent"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise PrepareError(f"{name}={value}: must be a share between 0 and 1")
        if self.valid_percent + self.test_percent > 1:
            raise PrepareError("valid_percent and test_percent add up to more than 1")
        for name in ("sample_rate", "workers", "spm_vocab_size"):
            if getattr(self, name) < 1:
                raise PrepareError(f"{name}={getattr(self, name)}: must be at least 1")
        if self.segment_seconds is not None and self.segment_seconds <= 0:
            raise PrepareError(f"segment_seconds={self.segment_seconds}: must be above 0")
        if self.vad and self.segment_seconds is None:
            raise PrepareError("--vad needs --segment-seconds, the longest piece")
        if self.layout not in ("auto", *LAYOUTS):
            raise PrepareError(f"layout={self.layout!r}: choose auto, {', '.join(LAYOUTS)}")
        unknown = set(self.labels or ()) - set(LABEL_KINDS)
        if unknown:
            raise PrepareError(
                f"labels={','.join(sorted(unknown))}: choose from {', '.join(LABEL_KINDS)}; "
                "--label makes labels of a column"
            )
        for ending in self.further_labels:
            check_ending(ending)

    @property
    def further_labels(self) -> tuple[str, ...]:
        """Endings of the class labels from columns and from paths."""
        groups = path_groups(self.label_from) if self.label_from is not None else ()
        return tuple(dict.fromkeys((*self.search.labels, *groups)))
