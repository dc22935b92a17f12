"""Task ``mgf_wav2vec2``: fairseq's own ``wav2vec2``, trained on MGF's data for a fair comparison.

Beside the objectives, not in the flow: what is MGF's is in task.py; model and criterion are
fairseq's, without a change.
"""

from __future__ import annotations

from typing import Any

from fairseq.tasks import register_task

from ..data.config import MgfPretrainingConfig
from .task import BaselineTask, waveform_of


@register_task("mgf_wav2vec2", dataclass=MgfPretrainingConfig)
class Wav2Vec2BaselineTask(BaselineTask):
    """BaselineTask that hands over what ``Wav2Vec2Model.forward`` takes."""

    trained = "fairseq's wav2vec2"

    def batch_for(self, sample: dict[str, Any], model: Any) -> dict[str, Any]:
        """Reduce one of our batches to the inputs of ``Wav2Vec2Model.forward``.

        A batch without padding carries no padding mask, as in fairseq's own datasets.
        """
        mask = sample["net_input"]["padding_mask"]
        kept = {"source": waveform_of(sample, model)}
        if mask.any():
            kept["padding_mask"] = mask
        return {**sample, "net_input": kept}
