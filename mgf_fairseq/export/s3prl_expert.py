"""An s3prl upstream made by `mgf export`: needs torch and the files beside it, nothing else.

s3prl: copy this folder to s3prl/upstream/mgf, and add to s3prl/hub.py
``from s3prl.upstream.mgf.hubconf import *``. Then ``run_downstream.py -u mgf``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .standalone import Encoder


class UpstreamExpert(nn.Module):
    """Waveforms to hidden states, by s3prl's interface (s3prl/upstream/example/expert.py)."""

    def __init__(
        self, ckpt: str | None = None, model_config: str | None = None, **more: Any
    ) -> None:
        super().__init__()
        path = Path(ckpt) if ckpt else Path(__file__).with_name("model.pt")
        held = torch.load(path, map_location="cpu", weights_only=True)
        self.model = Encoder(**held["encoder"])
        self.model.load_state_dict(held["weights"], strict=True)
        self.hop_length = 1
        for _, stride in self.model.steps:
            self.hop_length *= stride

    def get_downsample_rates(self, key: str = "") -> int:
        """Samples between two frames."""
        return self.hop_length

    def forward(self, wavs: list[Tensor]) -> dict[str, Any]:
        """B of (S,) at 16 kHz -> "hidden_states", L + 1 of (B, T, D)."""
        waveform = nn.utils.rnn.pad_sequence(wavs, batch_first=True)  # B x (S,) -> (B, S)
        lengths = torch.tensor([len(wav) for wav in wavs], device=waveform.device)
        place = torch.arange(waveform.shape[1], device=waveform.device)
        padding_mask = place.unsqueeze(0) >= lengths.unsqueeze(1)
        context, states, _ = self.model.encode(waveform, padding_mask)
        return {"hidden_states": states, "last_hidden_state": context}
