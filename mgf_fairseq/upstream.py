"""Upstreams: whatever turns waveforms into features, with a name and a fingerprint of its output.

``load_upstream(spec)`` takes a checkpoint, an acoustic baseline, or a checkpoint's shape with fresh
weights; feature_store.py caches by the fingerprint, the evaluations compare the rows.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .checkpoint import CheckpointError, find_checkpoint, require_fit
from .encoder import EncoderConfig, SpeechEncoder
from .extract import LoadedEncoder, build_encoder, read_encoder
from .features import AcousticFeatures
from .lengths import STANDARD_GRID, ConvGeometry, padding_mask_of
from .suggestions import did_you_mean
from .waveform_model import Features, WaveformModel
from .waveforms import Waveform, Waveforms, as_rows

# Raise it when a change of the code changes what an upstream says beyond rounding.
CODE_VERSION = 1
RANDOM = "random:"
_SECONDS_AT_ONCE = 60  # of segments, so that memory does not grow with a recording
ACOUSTIC = {"fbank": "mel", "mfcc": "mfcc"}  # spec -> kind of features.AcousticFeatures
# What an EncoderConfig decides of the hidden states without dropout and masks.
_SHAPE = (
    *("extractor_mode", "conv_feature_layers", "conv_bias", "encoder_layers", "encoder_embed_dim"),
    *("encoder_ffn_embed_dim", "encoder_attention_heads", "layer_norm_first"),
    *("conv_pos", "conv_pos_groups"),
)


class AcousticBaseline(WaveformModel):
    """Log-mel or MFCC on the encoder's frame grid: frame t is centred on sample 320 t + 200.

    Each waveform is brought to zero mean and unit variance first, as the encoders get theirs. What
    follows is plain: natural logarithms of 80 mel energies (``fbank``), or 13 cepstra with their
    first and second differences (``mfcc``); nothing is normalised over utterance or corpus.
    """

    def __init__(self, spec: str, sample_rate: int = 16000) -> None:
        geometry = STANDARD_GRID
        name = ACOUSTIC[spec]
        acoustic = AcousticFeatures(
            [name],
            sample_rate,
            geometry.hop_length,
            geometry.receptive_field,
            normalization="none",
        )
        super().__init__(geometry, acoustic.dims[name], sample_rate, normalize=True)
        self.name, self.acoustic = name, acoustic

    def encode_rows(self, rows: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        """B of (S,), normalised -> one (B, T, F), and (B,) valid frames."""
        device = self.device
        frames = [self.geometry.num_frames(len(row)) for row in rows]
        source = nn.utils.rnn.pad_sequence(rows, batch_first=True)  # B x (S,) -> (B, S)
        mask = padding_mask_of([len(row) for row in rows], source.shape[1], device)
        valid = ~padding_mask_of(frames, max(frames), device)
        features = self.acoustic(source, mask, max(frames), valid)[self.name]
        return [features], valid.sum(dim=1)


class SegmentMeans(nn.Module):
    """Another model on segments that it hears one by one: of each, the mean over its frames.

    So no vector knows of speech outside its segment. What is left over at the end of a waveform is
    left out; a waveform shorter than a segment is one.
    """

    def __init__(self, model: LoadedEncoder | AcousticBaseline, num_samples: int) -> None:
        super().__init__()
        self.model, self.hop_length = model, num_samples
        self.geometry, self.width = model.geometry, model.width  # of the frames
        self.sample_rate, self.one_by_one = model.sample_rate, model.one_by_one

    @torch.no_grad()
    def forward(self, waveforms: Waveforms, sample_rate: int | None = None) -> Features:
        """(S,) each -> `Features` with one vector per segment in the place of a frame.

        Raises:
            ValueError: a waveform cannot be used; the message says which, and why.
        """
        device, least = self.model.device, self.geometry.receptive_field
        rows = as_rows(waveforms, self.sample_rate, device, sample_rate=sample_rate, least=least)
        counts = [max(len(row) // self.hop_length, 1) for row in rows]
        segments = [
            row[start : start + self.hop_length]
            for row, count in zip(rows, counts, strict=True)
            for start in range(0, count * self.hop_length, self.hop_length)
        ]
        at_once = max(_SECONDS_AT_ONCE * self.sample_rate // self.hop_length, 1)
        groups = [
            self._means(segments[first : first + at_once])
            for first in range(0, len(segments), at_once)
        ]
        states = [
            nn.utils.rnn.pad_sequence(list(torch.split(torch.cat(means), counts)), batch_first=True)
            for means in zip(*groups, strict=True)
        ]
        lengths = torch.tensor(counts, device=device)
        return Features(states, lengths, self.sample_rate / self.hop_length)

    def _means(self, segments: list[Tensor]) -> list[Tensor]:
        """N of (S,) -> for each layer (N, D)."""
        features: Features = self.model(segments)
        states, lengths = features.hidden_states, features.lengths
        padding = padding_mask_of(lengths.tolist(), states[0].shape[1], lengths.device)
        return [
            state.masked_fill(padding[..., None], 0).sum(dim=1) / lengths[:, None]  # (N, T, D)
            for state in states
        ]


@dataclass(frozen=True)
class Upstream:
    """A source of features: called with waveforms (S,) it gives `Features`."""

    model: LoadedEncoder | AcousticBaseline | SegmentMeans
    kind: str  # mgf, wav2vec2, hubert, fbank, mfcc or random
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
        spec: a checkpoint file, or the folder of its run (MGF, or fairseq's wav2vec 2.0 or HuBERT;
            pre-trained or fine-tuned); ``fbank`` or ``mfcc``; ``random:CHECKPOINT`` for an encoder
            of that checkpoint's shape with fresh weights of seed 1, ``random:CHECKPOINT@7`` of
            seed 7.

    Raises:
        CheckpointError: the checkpoint is missing, unsafe to load, or of another kind.
    """
    text = str(spec)
    if text in ACOUSTIC and not Path(text).is_file():
        return _acoustic(text)
    if text.startswith(RANDOM):
        return _random(text.removeprefix(RANDOM))
    if not Path(text).exists():
        words = ", ".join(ACOUSTIC)
        raise CheckpointError(
            f"{text}: no such checkpoint file{did_you_mean(text, ACOUSTIC)}; give one, or {words}, "
            f"or {RANDOM}FILE"
        )
    text = str(find_checkpoint(text))
    held = read_encoder(text)
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


def _random(rest: str) -> Upstream:
    """Build an encoder from ``CHECKPOINT`` or ``CHECKPOINT@SEED``."""
    found = None if Path(rest).exists() else re.fullmatch(r"(.+)@(\d+)", rest)
    path, seed = (found[1], int(found[2])) if found else (rest, 1)
    path = str(find_checkpoint(path))
    held = read_encoder(path)
    require_fit(held.config, held.weights, path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = SpeechEncoder(held.config)
    info: dict[str, Any] = {"name": f"random:{Path(path).name}@{seed}"}
    info |= {"path": f"{RANDOM}{path}@{seed}"}
    info |= {**_size(held.config), "num_updates": 0, "seed": seed, "audio_hours": 0.0}
    model = LoadedEncoder(encoder, held.sample_rate, held.normalize)
    return _of_encoder(model, "random", held.config, info)


def _of_encoder(
    model: LoadedEncoder, kind: str, config: EncoderConfig, info: dict[str, Any]
) -> Upstream:
    shape = {name: getattr(config, name) for name in _SHAPE}
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
