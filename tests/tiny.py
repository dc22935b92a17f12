"""A tiny model, its task and its batches; conftest hands them to the tests as fixtures.

A module of its own, so that processes which a test spawns can import it too.
"""

import copy
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from fairseq.dataclass.initialize import add_defaults, hydra_init
from fairseq.dataclass.utils import omegaconf_no_object_check
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from mgf_fairseq.criterion import MgfCriterion, MgfCriterionConfig
from mgf_fairseq.data.config import MgfPretrainingConfig
from mgf_fairseq.model import MgfConfig, MgfModel
from mgf_fairseq.task import MgfPretrainingTask
from mgf_fairseq.types import HostRows

SAMPLE_RATE = 16000
# wav2vec 2.0's kernels and strides, so 50 frames per second; few channels, tapered.
CONV_LAYERS = "[(4, 10, 5), (6, 3, 2), (8, 3, 2), (8, 3, 2), (8, 3, 2), (12, 2, 2), (12, 2, 2)]"
OBJECTIVES: dict[str, dict[str, Any]] = {
    "sample": {
        "segment_frames": 8,
        "hidden_dim": 16,
        "snr_weight": 0.1,
        "si_sdr_weight": 0,
        "stft_weight": 0,
    },
    "frame": {"hidden_dim": 16},
    "phoneme": {"final_dim": 16, "num_negatives": 10},
    "utterance": {"final_dim": 16},
}
# All different, so that a weight on the wrong objective shows.
WEIGHTS = {"sample": 0.1, "frame": 1.0, "phoneme": 0.7, "utterance": 0.4}
SHARES = {"sample": 0.1, "frame": 0.2, "frame_masked": 0.15, "phoneme": 0.3, "utterance": 0.25}


def tiny_model_config(names: Sequence[str] = tuple(OBJECTIVES), **overrides: Any) -> MgfConfig:
    """2 layers of 16 with the named objectives; any field can be overridden."""
    values: dict[str, Any] = {
        "conv_feature_layers": CONV_LAYERS,
        "encoder_layers": 2,
        "encoder_embed_dim": 16,
        "encoder_ffn_embed_dim": 32,
        "encoder_attention_heads": 2,
        "conv_pos": 8,
        "conv_pos_groups": 2,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "mask_length": 4,
        "sample_rate": SAMPLE_RATE,
        "seed": 1,
        "objectives": {name: copy.deepcopy(OBJECTIVES[name]) for name in names},
    }
    return MgfConfig(**{**values, **overrides})


def tiny_task(data: Path | str = Path(__file__).parent, **overrides: Any) -> MgfPretrainingTask:
    """The task over a folder of manifests."""
    values: dict[str, Any] = {"data": str(data), "seed": 1, "max_sample_size": 16000}
    return MgfPretrainingTask.setup_task(MgfPretrainingConfig(**{**values, **overrides}))


def tiny_training(
    names: Sequence[str] = tuple(OBJECTIVES), data: Path | str = "none", **overrides: Any
) -> tuple[MgfPretrainingTask, MgfModel, MgfCriterion]:
    """Task, model and criterion of the named objectives, with the same weights every time."""
    task = tiny_task(data)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = build_model(task, tiny_model_config(names, **overrides))
    return task, model, tiny_criterion(task, names)


def build_model(task: MgfPretrainingTask, config: MgfConfig) -> MgfModel:
    """Build as fairseq's trainer does: from a plain config that names the model."""
    model = task.build_model(OmegaConf.create({**dataclasses.asdict(config), "_name": "mgf"}))
    assert isinstance(model, MgfModel)
    return model


def tiny_criterion(
    task: MgfPretrainingTask, names: Sequence[str] = tuple(OBJECTIVES)
) -> MgfCriterion:
    """The criterion, with the weights of `WEIGHTS`."""
    weights = {name: WEIGHTS[name] for name in names}
    return MgfCriterion(MgfCriterionConfig(loss_weights=weights, sample_rate=SAMPLE_RATE), task)


def shares_criterion(
    task: MgfPretrainingTask, shares: dict[str, float] | None = None, **settings: Any
) -> MgfCriterion:
    """The criterion by shares of the gradient: those of `SHARES` for what the task has built."""
    built = [part for parts in task.objective_parts.values() for part in parts]
    given = {part: SHARES[part] for part in built} | (shares or {})
    config = MgfCriterionConfig(gradient_shares=given, sample_rate=SAMPLE_RATE, **settings)
    return MgfCriterion(config, task)


def speech_like(seconds: float, seed: int, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """Harmonics of a wavering pitch under a syllable-rate envelope, and noise: (S,) fp32."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    pitch = rng.uniform(90, 220) * (1 + 0.1 * np.sin(2 * np.pi * rng.uniform(1, 3) * time))
    phase = 2 * np.pi * np.cumsum(pitch) / sample_rate
    voice = sum(rng.uniform(0.2, 1) / k * np.sin(k * phase) for k in range(1, 9))
    envelope = 0.55 + 0.45 * np.sin(2 * np.pi * rng.uniform(2, 5) * time + rng.uniform(0, 6))
    waveform = 0.1 * envelope * voice + 0.01 * rng.standard_normal(len(time))
    return waveform.astype(np.float32)


def tiny_sample(rows: Sequence[int]) -> dict[str, Any]:
    """The named rows as the collater hands them over; row r is view r % 2 of utterance r // 2.

    But for the waveform, which is fp64 here instead of the bits of fp32, so that tests can write
    into it. A test that changes lengths or rows removes ``rows``.

    A row is the same whatever batch it is in; lengths differ from row to row.
    """
    waveforms = [
        torch.from_numpy(speech_like(0.5 + 0.11 * (row % 5), seed=100 + row)) for row in rows
    ]
    width = max(len(waveform) for waveform in waveforms)
    source = torch.zeros(len(rows), width, dtype=torch.float64)
    padding_mask = torch.ones(len(rows), width, dtype=torch.bool)
    for index, waveform in enumerate(waveforms):
        source[index, : len(waveform)] = waveform
        padding_mask[index, : len(waveform)] = False
    row_id = torch.tensor(rows)
    return {
        "id": row_id // 2,
        "entries": [f"{row // 2}.wav" for row in rows],
        "net_input": {
            "source": source,
            "padding_mask": padding_mask,
            "utterance": row_id // 2,
            "row_id": row_id,
            "rows": HostRows(
                num_samples=tuple(map(len, waveforms)),
                row_id=tuple(rows),
                counted=tuple(range(len(rows))),
            ),
        },
        "num_skipped": 0,
    }


def write_corpus(root: Path, num_train: int = 12, num_valid: int = 4) -> Path:
    """Write wav files of 0.8 to 2.5 s and their manifests; return the manifests' folder."""
    (root / "audio").mkdir(parents=True)
    lines: list[str] = []
    for number in range(num_train + num_valid):
        waveform = speech_like(0.8 + 1.7 * (number % 7) / 6, seed=number)
        soundfile.write(root / "audio" / f"{number}.wav", waveform, SAMPLE_RATE)
        lines.append(f"{number}.wav\t{len(waveform)}\n")
    for split, part in (("train", lines[:num_train]), ("valid", lines[num_train:])):
        (root / f"{split}.tsv").write_text(f"{root / 'audio'}\n{''.join(part)}")
    return root


def compose_recipe(folder: Path, name: str, overrides: Sequence[str] = ()) -> DictConfig:
    """Compose a YAML recipe as `fairseq-hydra-train` does (fairseq_cli/hydra_train.py)."""
    hydra_init(name)
    with initialize_config_dir(str(folder), version_base="1.1"):
        config = compose(name, list(overrides), return_hydra_config=True)
    with open_dict(config):
        hydra_part = config.hydra
        # What hydra fills in when it runs a job.
        hydra_part.runtime.output_dir = hydra_part.job.id = "unset"
        HydraConfig.instance().set_config(OmegaConf.create({"hydra": hydra_part}))
        del config["hydra"]
    add_defaults(config)
    try:
        with omegaconf_no_object_check():
            container = OmegaConf.to_container(config, resolve=True, enum_to_str=True)
            config = OmegaConf.create(container)
    finally:
        HydraConfig.instance().cfg = None
    OmegaConf.set_struct(config, True)
    return config
