"""Compare an export with the encoder that training used, layer by layer, padded and unpadded.

Every format comes through here before its folder gets its name.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..acoustics.normalization import unit_variance
from ..encoder.padding import padding_mask_of
from .source import CTC, ENCODER, Source
from .standalone import Classifier, CtcModel

EXACT = 1e-5  # of fp32 in another order of sums, for values around 1
SECONDS = (1.5, 0.9)  # of the two rows that are compared


class ParityError(ValueError):
    """An export that does not say what the checkpoint says."""


@dataclass(frozen=True)
class Difference:
    """How far an export is from the checkpoint in one place."""

    what: str  # layer 3, logits
    rows: str  # unpadded, padded
    largest: float  # absolute difference
    scale: float  # largest absolute value
    limit: float | None = EXACT  # of the difference, per unit of scale above 1; None: only reported

    @property
    def within(self) -> bool:
        """Whether it is as small as it must be; NaN is not."""
        return self.limit is None or self.largest <= self.limit * max(self.scale, 1.0)


@dataclass(frozen=True)
class Rows:
    """Waveforms to compare with: raw, and as the encoder gets them."""

    name: str
    raw: list[Tensor]  # of (S,)
    waveform: Tensor  # (B, S), normalized if training had it so
    padding_mask: Tensor  # (B, S)

    @property
    def padded(self) -> Tensor:
        """(B, S) of the raw waveforms."""
        return nn.utils.rnn.pad_sequence(self.raw, batch_first=True)


# Rows -> what there is to compare, by name: layers (B, T, D), logits (B, T, V) or (B, N).
Said = Callable[[Rows], dict[str, Tensor]]


def parity_rows(source: Source) -> list[Rows]:
    """One row alone, and two of which one is padded; the same in every process."""
    generator = torch.Generator().manual_seed(1)
    rate = source.held.sample_rate
    rows = []
    for seconds in SECONDS:
        count = max(round(seconds * rate), 2 * source.encoder.geometry.receptive_field)
        tone = torch.sin(torch.arange(count) * (2 * torch.pi * 150 / rate))
        rows.append(0.1 * tone + 0.1 * torch.randn(count, generator=generator))
    return [_rows(source, "unpadded", rows[:1]), _rows(source, "padded", rows)]


def _rows(source: Source, name: str, raw: list[Tensor]) -> Rows:
    heard = [unit_variance(row) if source.held.normalize else row for row in raw]
    padded = nn.utils.rnn.pad_sequence(heard, batch_first=True)
    mask = padding_mask_of([len(row) for row in raw], padded.shape[1], padded.device)
    return Rows(name, raw, padded, mask)


@torch.no_grad()
def expected(source: Source, rows: Rows) -> tuple[dict[str, Tensor], list[int]]:
    """The checkpoint's hidden states and context, (B, T, D) each, and logits; and valid frames.

    In double precision, so that a difference is all the export's: our group norm, channels last,
    is off by 4e-4 itself in fp32 where rows are padded. Formats that can be cast speak in double
    precision too, so that no checkpoint is refused for its rounding.
    """
    encoder = copy.deepcopy(source.encoder).double()
    encoded, _ = encoder.encode(rows.waveform.double(), rows.padding_mask)
    said = {f"layer {n}": state for n, state in enumerate(encoded.hidden_states)}
    said["context"] = encoded.context
    if source.head:
        model = source.standalone().double()
        if isinstance(model, CtcModel):
            said["logits"] = model.proj(encoded.context)
        elif isinstance(model, Classifier):
            said["logits"] = model.classify(encoded.context, encoded.num_frames)
    return said, encoded.num_frames.tolist()


@torch.no_grad()
def compare(source: Source, said: Said, limit: float | None = EXACT) -> list[Difference]:
    """Compare what an export says of these rows; padded frames do not count."""
    found = []
    for rows in parity_rows(source):
        wanted, frames = expected(source, rows)
        for name, actual in said(rows).items():
            valid = [(actual[row].double(), wanted[name][row]) for row in range(len(frames))]
            if actual.dim() == 3:
                valid = [(a[:n], b[:n]) for (a, b), n in zip(valid, frames, strict=True)]
            largest = max(float((a - b).abs().max()) for a, b in valid)
            scale = max(float(b.abs().max()) for _, b in valid)
            found.append(Difference(name, rows.name, largest, scale, limit))
    return found


def require_parity(differences: Sequence[Difference], to: str) -> None:
    """Refuse an export that differs.

    Raises:
        ParityError: with the first place.
    """
    for difference in differences:
        if not difference.within:
            raise ParityError(
                f"--to {to}: {difference.what} of {difference.rows} rows differs from the "
                f"checkpoint by {difference.largest:.1e} (values up to {difference.scale:.2g}); "
                "nothing was written. Please report this"
            )


def named_outputs(source: Source, outputs: Tensor | Sequence[Tensor]) -> dict[str, Tensor]:
    """Name the outputs of a model of standalone.py: layers and context (B, T, D), or logits."""
    if isinstance(outputs, Tensor):
        return {"logits": outputs}
    if source.task == ENCODER:
        context, states, _ = outputs
        return {**{f"layer {n}": state for n, state in enumerate(states)}, "context": context}
    return {"logits": outputs[0]}


def output_names(source: Source) -> list[str]:
    """Names of the outputs of a model of standalone.py, in their order."""
    if source.task == ENCODER:
        return ["context", "hidden_states", "num_frames"]
    return ["logits", "num_frames"] if source.task == CTC else ["logits"]
