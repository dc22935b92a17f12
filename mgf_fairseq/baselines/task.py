"""Baselines that are trained on MGF's data: what their tasks share.

Manifests, crops, batches, the start of the conv stack and the log keys for audio are MGF's; model
and criterion are not. Below wav2vec2.py, hubert.py and apc.py, each with its model's inputs.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from fairseq.logging import metrics
from fairseq.tasks import FairseqTask

from ..data.config import MgfPretrainingConfig
from ..encoder.feature_extractor import init_conv_
from ..task import MgfPretrainingTask
from ..utils.transfer import from_bits


class BaselineTask(MgfPretrainingTask):
    """MgfPretrainingTask that hands over what another model's ``forward`` takes."""

    trained: ClassVar[str]  # what messages call the model

    def __init__(self, cfg: MgfPretrainingConfig) -> None:
        super().__init__(cfg)
        if cfg.autocast != "none":
            raise ValueError(
                f"task.autocast={cfg.autocast}: {self.trained} cannot run under autocast; set "
                "task.autocast=none, and common.bf16=true for speed on a GPU"
            )
        if cfg.compile != "none":
            raise ValueError(
                f"task.compile={cfg.compile}: {self.trained} is trained as it is; set "
                "task.compile=none"
            )

    def batch_for(self, sample: dict[str, Any], model: Any) -> dict[str, Any]:
        """Make of one of our batches what model and criterion take."""
        raise NotImplementedError

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> Any:
        """Build the model, its conv stack initialized as MGF's; no objectives of ours."""
        model = FairseqTask.build_model(self, cfg, from_checkpoint)
        if hasattr(model, "feature_extractor"):
            for block in model.feature_extractor.conv_layers:
                init_conv_(block[0].weight)
        return model

    def train_step(
        self,
        sample: dict[str, Any],
        model: Any,
        criterion: Any,
        optimizer: Any,
        update_num: int,
        ignore_grad: bool = False,
    ) -> Any:
        """Run one step and count its audio."""
        loss, sample_size, log = super().train_step(
            self.batch_for(sample, model), model, criterion, optimizer, update_num, ignore_grad
        )
        return loss, sample_size, {**log, **self._audio(sample, counts=not ignore_grad)}

    def valid_step(self, sample: dict[str, Any], model: Any, criterion: Any) -> Any:
        """Validate one batch and count its audio."""
        loss, sample_size, log = super().valid_step(self.batch_for(sample, model), model, criterion)
        return loss, sample_size, {**log, **self._audio(sample, counts=True)}

    def _audio(self, sample: dict[str, Any], counts: bool) -> dict[str, Any]:
        """Count seconds of audio and skipped files, under the keys of the criterion ``mgf``."""
        heard = (~sample["net_input"]["padding_mask"]).sum() / self.cfg.sample_rate
        return {"audio_s": heard * counts, "num_skipped": sample["num_skipped"] * counts}

    def reduce_metrics(self, logging_outputs: list[dict[str, Any]], criterion: Any) -> None:
        """Log the audio beside what the criterion logs."""
        super().reduce_metrics(logging_outputs, criterion)
        seconds = sum(float(log.get("audio_s", 0.0)) for log in logging_outputs)
        skipped = sum(float(log.get("num_skipped", 0.0)) for log in logging_outputs)
        metrics.log_scalar_sum("audio_h", seconds / 3600, round=3)
        metrics.log_scalar_sum("skipped", skipped, round=0)
        metrics.log_speed("audio_s_per_s", seconds, round=1)


def waveform_of(sample: dict[str, Any], model: Any) -> torch.Tensor:
    """Take a batch's (B, S) samples, in the model's precision."""
    dtype = next((p.dtype for p in model.parameters()), torch.float32)
    return from_bits(sample["net_input"]["source"]).to(dtype)
