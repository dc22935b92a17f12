"""Log-mel and MFCC in the fine-tuning recipes: the grid, padding, and fairseq's own contract."""

import dataclasses
from pathlib import Path

import pytest
import tiny
import torch
from fairseq import tasks
from fairseq.dataclass.initialize import add_defaults
from omegaconf import OmegaConf
from torch import nn

from mgf_fairseq.acoustics.features import AcousticFeatures
from mgf_fairseq.baselines.acoustic_model import (
    ACOUSTIC,
    AcousticModel,
    AcousticModelConfig,
    write_untrained,
)
from mgf_fairseq.encoder.config import EncoderConfig

LETTERS = "ABCDEF"


def config(kind: str) -> AcousticModelConfig:
    return AcousticModelConfig(**vars(tiny.tiny_model_config([])), features=kind)


@pytest.mark.parametrize("kind", ACOUSTIC)
def test_frames_are_those_of_features_py_and_padding_changes_none(kind: str) -> None:
    model = AcousticModel(config(kind)).eval()
    long, short = torch.randn(1, 6000), torch.randn(1, 3000)
    batch = torch.cat([long, nn.functional.pad(short, (0, 3000))])
    mask = torch.arange(6000).expand(2, -1) >= torch.tensor([[6000], [3000]])
    with torch.no_grad():
        together = model.encode(batch, mask)[0]
        alone = model.encode(short)[0]
    frames = int(alone.num_frames[0])
    assert together.num_frames.tolist()[1] == frames
    # fp32 sums in another order.
    assert torch.allclose(together.latents[1, :frames], alone.latents[0], atol=1e-5)
    assert torch.allclose(together.context[1, :frames], alone.context[0], atol=1e-5)
    valid = torch.ones(1, frames, dtype=torch.bool)
    expected = AcousticFeatures([ACOUSTIC[kind]])(
        short, torch.zeros_like(short, dtype=torch.bool), frames, valid
    )
    assert torch.allclose(alone.latents, expected[ACOUSTIC[kind]], atol=1e-6)
    assert alone.latents.shape[2] == {"fbank": 80, "mfcc": 39}[kind]


@pytest.mark.parametrize("kind", ACOUSTIC)
def test_stock_ctc_builds_from_the_untrained_checkpoint_and_every_weight_learns(
    kind: str, tmp_path: Path
) -> None:
    names = {item.name for item in dataclasses.fields(EncoderConfig)}
    values = {k: v for k, v in vars(tiny.tiny_model_config([])).items() if k in names}
    path = tmp_path / "fbank.pt"
    write_untrained(path, kind, EncoderConfig(**values), 16000)
    (tmp_path / "dict.ltr.txt").write_text("".join(f"{x} 10\n" for x in [*LETTERS, "|"]))
    wanted = OmegaConf.create(
        {
            "common": {"seed": 1, "tpu": False},
            "task": {
                "_name": "audio_finetuning",
                "data": str(tmp_path),
                "labels": "ltr",
                "normalize": True,
            },
            "criterion": {"_name": "ctc", "zero_infinity": True},
            "model": {
                "_name": "wav2vec_ctc",
                "w2v_path": str(path),
                "no_pretrained_weights": True,
                "mask_prob": 0.2,
                "layerdrop": 0.0,
            },
        }
    )
    add_defaults(wanted)
    task = tasks.setup_task(wanted.task)
    model = task.build_model(wanted.model)
    encoder = model.w2v_encoder.w2v_model
    assert isinstance(encoder, AcousticModel) and encoder.frame_spans.prob == 0.2
    saved = torch.load(path, weights_only=True)["model"]
    proj = "post_extract_proj.weight"
    assert not torch.equal(encoder.state_dict()[proj], saved[proj])  # weights drawn by the run
    source = torch.randn(2, 6000)
    output = model(source=source, padding_mask=torch.zeros_like(source, dtype=torch.bool))
    model.get_logits(output).square().sum().backward()
    for key, parameter in encoder.named_parameters():
        if key != "mask_emb":
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), key


def test_other_features_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"model\.features='plp' is none of fbank, mfcc"):
        AcousticModel(config("plp"))
