"""Upstreams: whatever turns waveforms into features, with a name and a fingerprint of its output.

``load_upstream(spec)`` takes a checkpoint, an acoustic baseline, or a checkpoint's shape with fresh
weights; store.py caches by the fingerprint, the evaluations compare the rows.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..baselines.acoustic_model import ACOUSTIC
from ..baselines.apc import MODEL as APC
from ..checkpoints.encoder import EncoderCheckpoint, read_encoder
from ..checkpoints.files import CheckpointError
from ..checkpoints.fresh import RANDOM, FreshWeights
from ..checkpoints.reading import PRETRAINED, find_checkpoint, require_fit
from ..encoder import build
from ..encoder.config import SHAPE_FIELDS, EncoderConfig
from ..encoder.geometry import ConvGeometry
from ..utils.suggestions import did_you_mean
from .apc import build_apc
from .baselines import AcousticBaseline, SegmentMeans
from .encoder import LoadedEncoder, build_encoder
from .waveform_model import Features, WaveformModel
from .waveforms import Waveform, Waveforms

# Raise it when a change of the code changes what an upstream says beyond rounding.
CODE_VERSION = 1


@dataclass(frozen=True)
class Upstream:
    """A source of features: called with waveforms (S,) it gives `Features`."""

    model: WaveformModel | SegmentMeans
    kind: str  # mgf, wav2vec2, hubert, apc, fbank, mfcc or random
    layer_names: list[str]  # one per hidden state
    fingerprint: str  # hex digest of all that decides the features
    info: dict[str, Any]  # for result files: name, path, size, how it was trained

    def __call__(self, waveforms: Waveforms, sample_rate: int | None = None) -> Features:
        """Encode one waveform or several, as `WaveformModel.forward` takes them."""
        features: Features = self.model(waveforms, sample_rate)
        return features

    def stream(self, waveform: Waveform, sample_rate: int | None = None) -> Iterator[Features]:
        """Encode one waveform of any length, or a file, as `WaveformModel.stream` does."""
        if isinstance(self.model, SegmentMeans):  # which holds one vector per segment
            yield self(waveform, sample_rate)
        else:
            yield from self.model.stream(waveform, sample_rate)

    def pieces(self, num_samples: int) -> list[float]:
        """Seconds of a piece and of its context if so long a waveform is cut; nothing if not."""
        if isinstance(self.model, SegmentMeans):
            num_samples = min(num_samples, self.model.hop_length)
            return self.model.model.pieces(num_samples)
        return self.model.pieces(num_samples)

    @property
    def sample_rate(self) -> int:
        """Hz of the waveforms it takes."""
        return self.model.sample_rate

    @property
    def geometry(self) -> ConvGeometry:
        """Its frame grid."""
        return self.model.geometry

    @property
    def hop_length(self) -> int:
        """Samples between two of its vectors."""
        return self.model.hop_length

    @property
    def frame_rate(self) -> float:
        """Vectors per second."""
        return self.sample_rate / self.hop_length

    @property
    def width(self) -> int:
        """D, the size of a frame."""
        return self.model.width

    @property
    def one_by_one(self) -> bool:
        """Whether batches save nothing, because each waveform is encoded alone."""
        return self.model.one_by_one

    def of_segments(self, seconds: float) -> Upstream:
        """Give the same source, hearing segments one by one: one mean per segment (`SegmentMeans`).

        Raises:
            ValueError: a segment would be too short for one frame.
        """
        assert not isinstance(self.model, SegmentMeans)
        count = round(seconds * self.sample_rate)
        if not self.geometry.num_frames(count):
            raise ValueError(
                f"segments of {seconds:g} s are {count} samples, fewer than the "
                f"{self.geometry.receptive_field} that one frame needs: make them longer"
            )
        digest = hashlib.sha256(f"{self.fingerprint} means over {count} samples".encode())
        model = SegmentMeans(self.model, count)
        info = {**self.info, "segment_samples": count}
        return dataclasses.replace(self, model=model, fingerprint=digest.hexdigest(), info=info)

    def to(self, device: str | torch.device) -> Upstream:
        """Move it to a device and return it."""
        self.model.to(device)
        return self


def load_upstream(spec: str | Path) -> Upstream:
    """Load what a spec names.

    Args:
        spec: a checkpoint file, or the folder of its run (MGF, or fairseq's wav2vec 2.0 or HuBERT,
            pre-trained or fine-tuned; or the baseline APC); ``fbank`` or ``mfcc``;
            ``random:CHECKPOINT`` for an encoder of that checkpoint's shape with fresh weights of
            seed 1, ``random:CHECKPOINT@7`` of seed 7.

    Raises:
        CheckpointError: the checkpoint is missing, unsafe to load, or of another kind.
    """
    text = str(spec)
    if text in ACOUSTIC and not Path(text).is_file():
        return _acoustic(text)
    if fresh := FreshWeights.parse(text):
        return _random(fresh)
    if not Path(text).exists():
        words = ", ".join(ACOUSTIC)
        raise CheckpointError(
            f"{text}: no such checkpoint file{did_you_mean(text, ACOUSTIC)}; give one, or {words}, "
            f"or {RANDOM}FILE"
        )
    text = str(find_checkpoint(text))
    held = read_encoder(text, PRETRAINED)
    if held.kind == APC:
        return _apc(held, text)
    model = build_encoder(held, text)
    info = {"name": Path(text).name, "path": text, **_size(held.config), **held.history}
    return _of_encoder(model, held.kind, held.config, info)


def _acoustic(spec: str) -> Upstream:
    model = AcousticBaseline(spec)
    info: dict[str, Any] = {"name": spec, "path": spec, "layers": 0, "width": model.width}
    info |= {"num_updates": 0, "seed": None, "audio_hours": 0.0}
    settings = {"kind": spec, "sample_rate": model.sample_rate}
    tensors = dict(model.acoustic.named_buffers())
    return Upstream(model, spec, [spec], _digest(settings, tensors), info)


def _apc(held: EncoderCheckpoint, path: str) -> Upstream:
    model = build_apc(held, path)
    layers = len(model.apc.layers)
    info = {"name": Path(path).name, "path": path, "layers": layers, "width": model.width}
    settings = {"kind": APC, "sample_rate": model.sample_rate, "normalize": model.normalize}
    settings |= {"kernels": model.geometry.kernels, "strides": model.geometry.strides}
    names = [f"layer {number}" for number in range(1, layers + 1)]  # its input is no layer
    digest = _digest(settings, model.apc.state_dict())
    return Upstream(model, APC, names, digest, {**info, **held.history})


def _random(asked: FreshWeights) -> Upstream:
    path, seed = str(find_checkpoint(asked.path)), asked.seed
    held = read_encoder(path)
    require_fit(held.config, held.weights, path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = build.build_encoder(held.config)
    info: dict[str, Any] = {"name": str(FreshWeights(Path(path).name, seed))}
    info |= {"path": str(FreshWeights(path, seed))}
    info |= {**_size(held.config), "num_updates": 0, "seed": seed, "audio_hours": 0.0}
    model = LoadedEncoder(encoder, held.sample_rate, held.normalize)
    return _of_encoder(model, "random", held.config, info)


def _of_encoder(
    model: LoadedEncoder, kind: str, config: EncoderConfig, info: dict[str, Any]
) -> Upstream:
    shape = {name: getattr(config, name) for name in SHAPE_FIELDS}
    settings = {"sample_rate": model.sample_rate, "normalize": model.normalize, **shape}
    names = [f"layer {number}" for number in range(config.encoder_layers + 1)]
    return Upstream(model, kind, names, _digest(settings, model.encoder.state_dict()), info)


def _size(config: EncoderConfig) -> dict[str, Any]:
    values = dataclasses.asdict(config)
    return {"layers": values["encoder_layers"], "width": values["encoder_embed_dim"]}


def _digest(settings: dict[str, Any], tensors: dict[str, Tensor]) -> str:
    """Digest of settings and tensors, whatever file or device they come from."""
    digest = hashlib.sha256(json.dumps([CODE_VERSION, settings], sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
