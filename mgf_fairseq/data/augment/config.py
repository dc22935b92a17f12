"""Settings of augmentation (``task.augment``); by default nothing is changed.

Below augmenter.py; the task holds them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from ...utils.settings import SHARE, require_ranges

BATCH = "batch"
TARGETS = ("clean", "noisy")
_RANGES = {
    **dict.fromkeys(("noise_prob", "room_prob", "gain_prob", "speed_prob"), SHARE),
    "min_snr": (-60, 100),
    "max_snr": (-60, 100),
    "gain_db": (0, 60),
    "room_seconds": (0.05, 5),
    "speed_range": (0, 0.5),
}


@dataclass
class AugmentConfig:
    """What is done to each view, with which probability; every view has draws of its own."""

    noise_prob: float = field(default=0.0, metadata={"help": "share of views that get noise"})
    noise: str = field(
        default=BATCH,
        metadata={
            "help": "batch: up to half of a view is mixed with another utterance of the batch; or "
            "a manifest (.tsv) of recordings of noise, of which one covers the view"
        },
    )
    min_snr: float = field(
        default=0.0, metadata={"help": "lowest signal-to-noise ratio, in dB, of the noisy part"}
    )
    max_snr: float = field(default=20.0, metadata={"help": "highest signal-to-noise ratio, in dB"})
    room_prob: float = field(default=0.0, metadata={"help": "share of views heard in a room"})
    room: str | None = field(
        default=None,
        metadata={
            "help": "manifest (.tsv) of impulse responses; null: noise with exponential decay"
        },
    )
    room_seconds: float = field(
        default=0.5,
        metadata={"help": "longest reverberation time (RT60) of a made response, in seconds"},
    )
    gain_prob: float = field(default=0.0, metadata={"help": "share of views whose level moves"})
    gain_db: float = field(
        default=10.0,
        metadata={
            "help": "the level moves from one gain to another, both within so many dB of 0 (a "
            "constant gain would be undone by task.normalize)"
        },
    )
    speed_prob: float = field(
        default=0.0, metadata={"help": "share of views that are played faster or slower"}
    )
    speed_range: float = field(
        default=0.1,
        metadata={"help": "greatest change of speed, and so of pitch: 0.1 is from 0.9 to 1.1"},
    )
    targets: str = field(
        default="clean",
        metadata={
            "help": "what the objectives' targets are made of: clean (before room, gain and noise, "
            "but at the new speed) or noisy (what the encoder hears)"
        },
    )

    @property
    def changes_sound(self) -> bool:
        """Whether what is heard differs from the clean view."""
        return max(self.noise_prob, self.room_prob, self.gain_prob) > 0

    @property
    def active(self) -> bool:
        """Whether anything is done at all."""
        return self.changes_sound or self.speed_prob > 0


def read_settings(config: Any) -> AugmentConfig:
    """Check the settings, as a dataclass or as omegaconf holds them.

    Raises:
        ValueError: a value is outside of its range; it and its field are named.
    """
    where = "task.augment."
    values = {f.name: getattr(config, f.name) for f in fields(AugmentConfig)}
    settings = AugmentConfig(**values)
    require_ranges(settings, _RANGES, where)
    if settings.targets not in TARGETS:
        raise ValueError(f"{where}targets={settings.targets!r} is none of {', '.join(TARGETS)}")
    if settings.min_snr > settings.max_snr:
        raise ValueError(
            f"{where}min_snr={settings.min_snr:g} is above {where}max_snr={settings.max_snr:g}"
        )
    return settings
