"""Speech enhancement on frozen features: a linear layer predicts a mask for each frame's spectrum.

A protocol of the evaluation with a result of its own, since it has no classes. Carries out the plan
of enhancement_plan.py.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...data.caveats import read_caveats
from ...utils.intervals import units_of
from ...utils.progress import Progress
from ..enhancement.mixtures import Mixture
from ..enhancement.spectra import Grid, spectra_of
from ..labeled import ProbeError
from ..metrics import mean_of, metric_interval, sum_by
from ..overlap import find_overlap
from ..probes.masks import (
    Encoded,
    MaskExamples,
    fixed_mask,
    learned_masks,
    mask_examples,
    mask_of,
)
from ..probes.trainer import NotFinite, TrainedProbes, train_probes
from ..provenance import provenance
from ..results import (
    ENHANCEMENT,
    EnhancementResult,
    Representation,
    SplitSize,
    TaskData,
    UtteranceGain,
)
from ..utterances import tally_of_gains
from .base import folder_name
from .enhancement_plan import PARTS, EnhancementPlan
from .held_out import unlearnable

METRIC = "si_sdr_gain"
_BATCH = 8  # mixtures that are encoded together
Gains = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Heard:
    """Mixtures of one split with their features."""

    mixtures: list[Mixture]
    encoded: list[Encoded]

    def size(self, sample_rate: int) -> SplitSize:
        samples = sum(len(mixture.clean) for mixture in self.mixtures)
        frames = sum(part.features.shape[1] for part in self.encoded)
        hours = round(samples / sample_rate / 3600, 4)
        return SplitSize(utterances=len(self.mixtures), hours=hours, items=frames)


def run_enhancement(plan: EnhancementPlan, progress: Progress | None = None) -> EnhancementResult:
    """Hear the mixtures, train the probes, and score their masks.

    Raises:
        ProbeError: no utterance of a split can be mixed, or the probes cannot be trained.
    """
    started = time.monotonic()
    heard = {part: _hear(plan, part, progress) for part in PARTS}
    train = mask_examples(heard["train"].encoded)
    trained = _train(plan, train, heard["valid"], progress)
    scores = {part: _gains(trained, heard[part], progress) for part in ("valid", "test")}
    chosen = int(scores["valid"].mean(axis=(0, 2)).argmax())
    fixed = torch.from_numpy(fixed_mask(train)).to(plan.options.device)
    tested = heard["test"]
    utterances = _utterances(plan, tested, scores["test"][:, chosen])
    units = units_of([utterance.speaker for utterance in utterances], len(utterances))
    low, high = metric_interval(mean_of, [sum_by(tally_of_gains(utterances), units.of_utterance)])
    split = plan.mixtures["test"].split
    recordings = dict.fromkeys(split.recording(mixture.row) for mixture in tested.mixtures)
    ideal = _mean_gain(tested, [part.spectra.ideal_mask() for part in tested.encoded])
    return EnhancementResult(
        **asdict(provenance(started, plan.options.device)),
        data=_data(plan, heard, ideal),
        protocol=plan.protocol,
        key=plan.key,
        seeds=list(plan.options.seeds),
        representations=_representations(plan, scores),
        chosen=chosen,
        low=low,
        high=high,
        chance={METRIC: _mean_gain(tested, [fixed] * len(tested.encoded))},
        ideal={METRIC: ideal},
        layer_weights=_layer_weights(plan, trained),
        overlap=find_overlap(plan.upstream, list(recordings)),
        interval_over=units.words,
        utterances=utterances,
    )


def _hear(plan: EnhancementPlan, part: str, progress: Progress | None) -> _Heard:
    """Make and encode the mixtures of a split; what cannot be mixed is skipped."""
    mixtures: list[Mixture] = []
    encoded: list[Encoded] = []
    made = plan.mixtures[part]
    for first in range(0, len(made), _BATCH):
        numbers = range(first, min(first + _BATCH, len(made)))
        usable = [mixture for number in numbers if (mixture := made.make(number)) is not None]
        encoded += _encode(plan, usable)
        mixtures += usable
        if progress:
            progress(f"mix and encode {part}", numbers.stop, len(made))
    if not mixtures:
        split = made.split
        raise ProbeError(
            f"{split.data / split.name}.tsv: none of {len(made)} utterances can be mixed, because "
            f"all are unreadable or silent: mgf check {split.data} says why"
        )
    return _Heard(mixtures, encoded)


def _encode(plan: EnhancementPlan, mixtures: list[Mixture]) -> Iterator[Encoded]:
    if not mixtures:
        return
    upstream, dtype = plan.upstream, plan.options.dtype
    features = upstream([mixture.noisy for mixture in mixtures])
    places = [upstream.layer_names.index(name) for name in plan.layers]
    states = torch.stack([features.hidden_states[place] for place in places])  # (L, B, T, D)
    grid, device = Grid.of(upstream.geometry), states.device
    for number, (mixture, count) in enumerate(
        zip(mixtures, features.lengths.tolist(), strict=True)
    ):
        with np.errstate(over="ignore"):
            values = states[:, number, :count].cpu().numpy().astype(dtype)
        yield Encoded(values, spectra_of(mixture, count, grid, device))


def _train(
    plan: EnhancementPlan, train: MaskExamples, valid: _Heard, progress: Progress | None
) -> TrainedProbes:
    bins, seeds = train.labels.shape[2], plan.options.seeds
    learned = learned_masks(len(seeds), len(plan.representations), bins)
    device = torch.device(plan.options.device)
    held_out = mask_examples(valid.encoded)
    try:
        return train_probes(train, held_out, bins, seeds, plan.config, device, progress, learned)
    except NotFinite as error:
        raise unlearnable(ENHANCEMENT, plan.representations, error) from None


@torch.no_grad()
def _gains(trained: TrainedProbes, heard: _Heard, progress: Progress | None) -> Gains:
    """Gains in dB of every probe on every mixture: (S, R, U)."""
    probes = trained.probes
    found = []
    for done, part in enumerate(heard.encoded, 1):
        x = torch.from_numpy(part.features).to(trained.standardizer.mean.device).float()
        outputs = probes(trained.standardizer(x).expand(probes.num_seeds, -1, -1, -1))
        gains = part.spectra.gains(mask_of(outputs).flatten(0, 1))  # (S R, T, F) -> (S R,)
        found.append(gains.view(outputs.shape[:2]).cpu())
        if progress:
            progress("score masks", done, len(heard.encoded))
    return torch.stack(found, dim=2).double().numpy()


def _mean_gain(heard: _Heard, masks: list[Tensor]) -> float:
    """Mean gain in dB of one mask (T, F) or (F,) per mixture."""
    gains = [
        float(part.spectra.gains(mask.expand(1, *part.spectra.wanted.shape)))
        for part, mask in zip(heard.encoded, masks, strict=True)
    ]
    return float(np.mean(gains))


def _utterances(plan: EnhancementPlan, tested: _Heard, gains: Gains) -> list[UtteranceGain]:
    """What the chosen probes, (S, U), made of each test mixture."""
    split = plan.mixtures["test"].split
    speakers = split.labels.get("spk")
    return [
        UtteranceGain(
            entry=split.manifest.paths[mixture.row],
            speaker=speakers[mixture.row] if speakers else "",
            noise=mixture.noise,
            snr_db=round(mixture.snr_db, 2),
            gain=gain,
        )
        for mixture, gain in zip(tested.mixtures, gains.mean(axis=0).tolist(), strict=True)
    ]


def _representations(plan: EnhancementPlan, scores: dict[str, Gains]) -> list[Representation]:
    means = {part: gains.mean(axis=2) for part, gains in scores.items()}  # (S, R)
    return [
        Representation(
            name=name,
            layer=name,
            valid={METRIC: means["valid"][:, k].tolist()},
            test={METRIC: means["test"][:, k].tolist()},
        )
        for k, name in enumerate(plan.representations)
    ]


def _layer_weights(plan: EnhancementPlan, trained: TrainedProbes) -> list[float]:
    """Of the sum, per layer of the upstream; a layer that was not chosen has no part in it."""
    weights = trained.probes.layer_weights().mean(dim=0).tolist()
    shares = dict(zip(plan.layers, weights, strict=False))
    return [shares.get(name, 0.0) for name in plan.upstream.layer_names] if shares else []


def _data(plan: EnhancementPlan, heard: dict[str, _Heard], ideal: float) -> TaskData:
    rate = plan.upstream.sample_rate
    sizes = {part: found.size(rate) for part, found in heard.items()}
    skipped = sum(len(plan.mixtures[part]) - len(heard[part].mixtures) for part in PARTS)
    notes = [f"the ideal mask of the same spectra would gain {ideal:.1f} dB"]
    notes += (
        [f"{skipped} utterance(s) are unreadable or silent and were skipped"] if skipped else []
    )
    notes += read_caveats(plan.data)
    return TaskData(folder=folder_name(plan.data), classes=[], **sizes, note="; ".join(notes))
