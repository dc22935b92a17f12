"""Task ``mgf_wav2vec2``: fairseq's own ``wav2vec2``, trained on MGF's data for a fair comparison.

Beside the objectives, not in the flow: manifests, crops, batches, the start of the conv stack and
the log keys for audio are MGF's; model and criterion are fairseq's, without a change.
"""

from __future__ import annotations

from typing import Any

import torch
from fairseq.logging import metrics
from fairseq.tasks import FairseqTask, register_task

from ..data.config import MgfPretrainingConfig
from ..encoder.feature_extractor import init_conv_
from ..task import MgfPretrainingTask
from ..utils.transfer import from_bits


@register_task("mgf_wav2vec2", dataclass=MgfPretrainingConfig)
class Wav2Vec2BaselineTask(MgfPretrainingTask):
    """MgfPretrainingTask that hands over what ``Wav2Vec2Model.forward`` takes."""

    def __init__(self, cfg: MgfPretrainingConfig) -> None:
        super().__init__(cfg)
        if cfg.autocast != "none":
            raise ValueError(
                f"task.autocast={cfg.autocast}: fairseq's wav2vec2 cannot run under autocast; set "
                "task.autocast=none, and common.bf16=true for speed on a GPU"
            )
        if cfg.compile != "none":
            raise ValueError(
                f"task.compile={cfg.compile}: fairseq's wav2vec2 is trained as it is; set "
                "task.compile=none"
            )

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> Any:
        """Build fairseq's model, its conv stack initialized as MGF's; no objectives of ours."""
        model = FairseqTask.build_model(self, cfg, from_checkpoint)
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
            wav2vec2_batch(sample, model), model, criterion, optimizer, update_num, ignore_grad
        )
        return loss, sample_size, {**log, **self._audio(sample, counts=not ignore_grad)}

    def valid_step(self, sample: dict[str, Any], model: Any, criterion: Any) -> Any:
        """Validate one batch and count its audio."""
        loss, sample_size, log = super().valid_step(wav2vec2_batch(sample, model), model, criterion)
        return loss, sample_size, {**log, **self._audio(sample, counts=True)}

    def _audio(self, sample: dict[str, Any], counts: bool) -> dict[str, Any]:
        """Count seconds of audio and skipped files, under the keys of the criterion ``mgf``."""
        heard = (~sample["net_input"]["padding_mask"]).sum() / self.cfg.sample_rate
        return {"audio_s": heard * counts, "num_skipped": sample["num_skipped"] * counts}

    def reduce_metrics(self, logging_outputs: list[dict[str, Any]], criterion: Any) -> None:
        """Log the audio beside what fairseq's criterion logs."""
        super().reduce_metrics(logging_outputs, criterion)
        seconds = sum(float(log.get("audio_s", 0.0)) for log in logging_outputs)
        skipped = sum(float(log.get("num_skipped", 0.0)) for log in logging_outputs)
        metrics.log_scalar_sum("audio_h", seconds / 3600, round=3)
        metrics.log_scalar_sum("skipped", skipped, round=0)
        metrics.log_speed("audio_s_per_s", seconds, round=1)


def wav2vec2_batch(sample: dict[str, Any], model: Any) -> dict[str, Any]:
    """Reduce one of our batches to the inputs of ``Wav2Vec2Model.forward``, in its precision.

    A batch without padding carries no padding mask, as in fairseq's own datasets.
    """
    inputs = sample["net_input"]
    dtype = next((p.dtype for p in model.parameters()), torch.float32)
    kept = {"source": from_bits(inputs["source"]).to(dtype)}
    if inputs["padding_mask"].any():
        kept["padding_mask"] = inputs["padding_mask"]
    return {**sample, "net_input": kept}
