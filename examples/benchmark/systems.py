"""The systems that the benchmark compares: MGF with all or some objectives, and its peers.

`pretraining.py` times them and `parts.py` profiles MGF; objectives are read from
`mgf_fairseq/configs/pretrain`, so that what is measured is what the recipes train.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from omegaconf import OmegaConf
from peers import PEERS
from setting import CONFIG, SAMPLE_RATE, Setting, System, synthetic_audio
from torch import Tensor

from mgf_fairseq.encoder.compilation import compile_encoder
from mgf_fairseq.types import HostRows
from mgf_fairseq.utils.transfer import as_bits

COMPILED = "mgf compiled"
SCALES = ("sample", "frame", "phoneme", "utterance")


def build_mgf(setting: Setting, objectives: tuple[str, ...] = SCALES, name: str = "mgf") -> System:
    """Build MGF with the named objectives, run through its own criterion."""
    from mgf_fairseq.criterion import MgfCriterion, MgfCriterionConfig
    from mgf_fairseq.data.config import MgfPretrainingConfig
    from mgf_fairseq.model import MgfConfig
    from mgf_fairseq.task import MgfPretrainingTask

    recipe = OmegaConf.merge(
        *(OmegaConf.load(CONFIG / "objective" / f"{objective}.yaml") for objective in objectives)
    )
    parts: dict[str, Any] = OmegaConf.to_container(recipe)  # type: ignore[assignment]
    task = MgfPretrainingTask.setup_task(MgfPretrainingConfig(data="none", seed=1))
    config = MgfConfig(**setting.model_values(), sample_rate=SAMPLE_RATE, seed=1, **parts["model"])
    model = task.build_model(OmegaConf.create({**dataclasses.asdict(config), "_name": "mgf"}))
    shares = parts["criterion"]["gradient_shares"]
    criterion = MgfCriterion(
        MgfCriterionConfig(gradient_shares=shares, sample_rate=SAMPLE_RATE), task
    )
    samples = [_mgf_sample(audio) for audio in synthetic_audio(setting)]
    masks: list[Tensor] = []  # of the last step; reading them would wait for a GPU
    model.register_forward_hook(
        lambda *args: masks.__setitem__(slice(None), [args[-1].encoded.mask_indices])
    )

    def loss(number: int) -> Tensor:
        criterion.finish_update()  # of the one before, as the task does
        model.set_num_updates(number)
        value, _, _ = criterion(model, samples[number % len(samples)])
        return value

    return System(name, model, loss, setting, lambda: float(masks[0].float().mean()))


def _mgf_sample(audio: Tensor) -> dict[str, Any]:
    """Lay out (B, S) audio as the collater does: two views per utterance, lengths on the host."""
    rows, length = audio.shape
    row_id = torch.arange(len(audio), device=audio.device)
    return {
        "net_input": {
            "source": as_bits(audio),
            "padding_mask": torch.zeros_like(audio, dtype=torch.bool),
            "utterance": row_id // 2,
            "row_id": row_id,
            "rows": HostRows((length,) * rows, tuple(range(rows)), tuple(range(rows))),
        },
        "num_skipped": 0,
    }


def without(objective: str) -> str:
    """Name MGF without one objective."""
    return f"mgf without {objective}"


def build(name: str, setting: Setting) -> System:
    """Build a system by name, from the same random state."""
    torch.manual_seed(1)
    if name in PEERS:
        return PEERS[name](setting)
    if name == COMPILED:
        system = build_mgf(setting, name=name)
        compile_encoder(system.model)  # type: ignore[arg-type]
        return system
    if name == "mgf phoneme only":
        return build_mgf(setting, ("phoneme",), name)
    kept = tuple(scale for scale in SCALES if name != without(scale))
    return build_mgf(setting, kept, name)
