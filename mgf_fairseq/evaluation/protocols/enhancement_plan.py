"""What the enhancement task needs, checked before anything is heard, and what decides its result.

It follows the enhancement task of SUPERB-SG (Tsai et al., ACL 2022; Huang et al., ICASSP 2022;
s3prl `downstream/enhancement_stft`): a mask on the STFT at the upstream's hop, the noisy phase,
squared error to phase-sensitive magnitudes. Ours differ in the head, which is linear where theirs
is a BLSTM of three layers, so that the detail has to be in the features; in windows of two hops
(theirs: 512 samples); and in mixtures made by code (theirs: Voicebank-DEMAND). enhancement.py
carries the plan out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...extract.store import choose_layers
from ...extract.upstream import Upstream
from ...utils.progress import Progress
from ..enhancement.mixtures import MixtureConfig, Mixtures
from ..enhancement.spectra import Grid
from ..labeled import LabeledManifest, check_disjoint, read_labeled
from ..options import ProbeOptions
from ..probes.trainer import ProbeConfig
from ..results import ENHANCEMENT, WEIGHTED_SUM
from .base import version_of
from .held_out import probe_config

PARTS = ("train", "valid", "test")
_PROBE = ProbeConfig(epoch_items=50_000)
MIXTURES = MixtureConfig()


@dataclass(frozen=True)
class EnhancementPlan:
    """The task on one prepared folder and one upstream, checked as far as that goes unheard."""

    upstream: Upstream
    data: Path
    options: ProbeOptions
    layers: list[str]
    mixtures: dict[str, Mixtures]  # train, valid, test
    protocol: dict[str, Any]
    config: ProbeConfig  # of the training
    key: str  # equal keys, equal result

    @property
    def representations(self) -> list[str]:
        """Names in the order of the probes: the layers, then their sum."""
        return [*self.layers, *([WEIGHTED_SUM] if len(self.layers) > 1 else [])]


def plan_enhancement(
    upstream: Upstream,
    data: Path,
    cache: Path,
    options: ProbeOptions,
    progress: Progress | None = None,
) -> EnhancementPlan:
    """Check the folder, and say by a key what decides the result.

    Args:
        upstream: what is probed.
        data: a folder of ``mgf prepare``; of its labels only ``.spk`` is read.
        cache: folder of features; what is known of audio files is kept there.
        options: seeds, layers, and what else may be chosen.
        progress: called as audio files are read for the first time.

    Raises:
        ProbeError: a split is missing or too small, or two splits share a speaker or recording.
    """
    layers = choose_layers(upstream, options.layers)
    splits = [
        read_labeled(data, name, [], ["spk"])
        for name in ("train", "valid", options.test_split or "test")
    ]
    config = probe_config(_PROBE, options)
    protocol = _protocol(upstream, splits, config, options)
    decided = [upstream.fingerprint, layers, ENHANCEMENT, protocol, options.seeds]
    digest = hashlib.sha256(json.dumps(decided, sort_keys=True).encode())
    mixtures = {}
    for part, split in zip(PARTS, splits, strict=True):
        mixtures[part] = Mixtures(split, part, MIXTURES, upstream.sample_rate)
        digest.update(split.audio_key(cache, progress).encode())
        digest.update(json.dumps(split.labels, sort_keys=True).encode())
    key = digest.hexdigest()[:20]
    return EnhancementPlan(upstream, data, options, layers, mixtures, protocol, config, key)


def _protocol(
    upstream: Upstream,
    splits: Sequence[LabeledManifest],
    config: ProbeConfig,
    options: ProbeOptions,
) -> dict[str, Any]:
    """What the result file says of how it was made."""
    grid = Grid.of(upstream.geometry)
    return {
        "probe": options.probe_name,
        "items": "frames of mixtures; the probe gives each a mask between 0 and 1 (sigmoid) with "
        f"one number for each of {grid.num_bins} frequencies",
        "mixtures": asdict(MIXTURES),
        "spectra": f"windows of {2 * grid.hop_length} samples every {grid.hop_length} (square root "
        "of Hann, twice), each around the middle of a frame of the features",
        "phase": "the mixture's",
        "loss": "squared error of masked magnitudes to |S| max(cos(phase of S - phase of X), 0)",
        "score": "SI-SDR of the masked mixture over that of the mixture, in dB, mean over "
        "utterances",
        "splits": f"learn on train, choose the layer on valid, report on {splits[-1].name}",
        "disjoint": check_disjoint(splits, options.disjoint),
        "features": "standardized per dimension by train",
        "weighted sum": "softmax weights over the standardized layers, learnt with the probe",
        "training": asdict(config),
        **options.stored,
        **version_of(ENHANCEMENT),
    }
