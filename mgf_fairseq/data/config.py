"""Settings of the task: where the data lies, and how utterances become rows."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from fairseq.dataclass import FairseqDataclass
from omegaconf import II, MISSING

from ..encoder.compilation import COMPILE
from ..utils.autocast import AUTOCAST
from ..utils.settings import POSITIVE, require_ranges
from .augment.config import AugmentConfig
from .cache import CACHES
from .distinct import DISTINCT
from .limits import PRETRAINING_MIN_SAMPLES, SAMPLE_RATES
from .mixture import parse_corpora

TASK_RANGES = {
    "sample_rate": SAMPLE_RATES,
    **dict.fromkeys(("views", "max_sample_size", "min_sample_size", "log_interval"), POSITIVE),
    "num_buckets": (0, math.inf),
}


@dataclass
class MgfPretrainingConfig(FairseqDataclass):
    """Settings under ``task``; checkpoints carry them."""

    data: str = field(default=MISSING, metadata={"help": "folder of <split>.tsv manifests"})
    # None, not {}: from a checkpoint fairseq removes what a default mapping does not hold.
    corpora: Any = field(
        default=None,
        metadata={"help": "folders below data that are mixed: name -> share of the audio, or null"},
    )
    sample_rate: int = field(
        default=16_000, metadata={"help": "Hz; files of another rate are resampled on reading"}
    )
    normalize: bool = field(default=True, metadata={"help": "zero mean and unit variance per view"})
    views: int = field(
        default=2, metadata={"help": "crops per utterance; the utterance objective needs two"}
    )
    max_sample_size: int = field(default=80_000, metadata={"help": "longest crop, in samples"})
    min_sample_size: int = field(
        default=PRETRAINING_MIN_SAMPLES,
        metadata={"help": "utterances shorter than this many samples are skipped"},
    )
    distinct: str = field(
        default="utterance",
        metadata={
            "help": "what comes at most once in a batch of training: utterance (a mixture may "
            "read one twice in an epoch), speaker (by train.spk beside the manifest), or none"
        },
    )
    num_buckets: int = field(
        default=16, metadata={"help": "length buckets that batches are drawn from; 0: by length"}
    )
    cache: str = field(
        default="none",
        metadata={
            "help": "decoded audio kept in memory, once for all loader processes of a rank: none, "
            "int16 (what 16 bits hold exactly; other files are read as without) or float32 (all)"
        },
    )
    autocast: str = field(
        default="none", metadata={"help": "none, bf16, or auto: bf16 where the device has it"}
    )
    compile: str = field(
        default="none",
        metadata={
            "help": "none, or encoder: torch.compile over conv stack and Transformer in training; "
            "rows are padded to the longest of their length bucket, so that shapes repeat"
        },
    )
    rebuild_batches: bool = field(
        default=True, metadata={"help": "draw new batches for every epoch"}
    )
    health: bool = field(
        default=True,
        metadata={"help": "log what is wrong with a training, and what to do about it"},
    )
    augment: AugmentConfig = field(
        default_factory=AugmentConfig,
        metadata={"help": "what changes the views of training, none of it by default"},
    )
    # Not interpolations as the seed: not every checkpoint holds the keys that they would follow.
    log_interval: int = field(
        default=100, metadata={"help": "updates between looks at health: common.log_interval"}
    )
    train_subset: str = field(
        default="train",
        metadata={"help": "the set that is shuffled and mixed by weight: dataset.train_subset"},
    )
    seed: int = II("common.seed")


def require_valid(cfg: MgfPretrainingConfig) -> None:
    """Refuse settings that no training can have.

    Raises:
        ValueError: one is unknown, out of its range or at odds with another; the message names it.
    """
    if cfg.autocast not in AUTOCAST:
        raise ValueError(f"task.autocast={cfg.autocast!r} is none of {', '.join(AUTOCAST)}")
    if cfg.compile not in COMPILE:
        raise ValueError(f"task.compile={cfg.compile!r} is none of {', '.join(COMPILE)}")
    if cfg.compile != "none" and cfg.num_buckets == 0:
        raise ValueError(
            f"task.compile={cfg.compile} with task.num_buckets=0 would compile every length anew; "
            "set task.num_buckets=16"
        )
    if cfg.cache not in CACHES:
        raise ValueError(f"task.cache={cfg.cache!r} is none of {', '.join(CACHES)}")
    if cfg.distinct not in DISTINCT:
        raise ValueError(f"task.distinct={cfg.distinct!r} is none of {', '.join(DISTINCT)}")
    require_ranges(cfg, TASK_RANGES, "task.")
    if not 0 <= cfg.seed < 2**31:
        raise ValueError(f"common.seed={cfg.seed} must be from 0 to 2**31 - 1")
    if any(parse_corpora(cfg.corpora or {}).values()) and not cfg.rebuild_batches:
        raise ValueError(
            "task.rebuild_batches=false would train the first epoch's draw of task.corpora in "
            "every epoch; leave it true"
        )
