"""`mgf average --start`: a fine-tuned encoder between what it learned and where it began."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_checkpoints import finetuned, mgf_checkpoint, save, wav2vec2

from mgf_fairseq.checkpoints.reading import read_checkpoint
from mgf_fairseq.cli import main
from mgf_fairseq.inference.recognizer import Recognizer

PREFIX = "w2v_encoder.w2v_model."


def test_the_encoder_moves_by_the_weight_and_all_else_stays(tmp_path: Path) -> None:
    tuned = finetuned(tmp_path / "tuned.pt")
    model, config = wav2vec2(extractor_mode="layer_norm")
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    start = save(tmp_path / "start.pt", model, config)
    dest = tmp_path / "between.pt"
    given = ["average", str(tuned), "--start", str(start), "--start-weight", "0.25"]
    assert main([*given, "--dest", str(dest)]) == 0
    before, found = read_checkpoint(tuned), read_checkpoint(dest)
    assert found["cfg"] == before["cfg"] and found["model"].keys() == before["model"].keys()
    origin = model.state_dict()
    moved = 0
    for name, tensor in before["model"].items():
        expected = tensor
        if name.startswith(PREFIX):
            expected = 0.75 * tensor + 0.25 * origin[name.removeprefix(PREFIX)]
            moved += 1
        # One rounding of fp32 between lerp and the formula.
        assert torch.allclose(found["model"][name], expected, rtol=1e-6, atol=1e-6), name
    assert moved and moved < len(before["model"])
    assert Recognizer.load(dest).transcribe(torch.randn(16000))[0].seconds == 1.0
    assert main([*given, "--dest", str(dest)]) == 0  # its own file may be replaced


def test_what_cannot_be_mixed_is_named_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tuned = str(finetuned(tmp_path / "tuned.pt"))
    other = str(mgf_checkpoint(tmp_path / "mgf.pt"))
    dest = tmp_path / "between.pt"
    cases = [
        ([tuned, "--start", other], "need each other"),
        ([tuned, "--start", other, "--start-weight", "1.5"], "above 0 and below 1"),
        ([tuned, tuned, "--start", other, "--start-weight", "0.5"], "one fine-tuned checkpoint"),
        ([other, "--start", other, "--start-weight", "0.5"], "is not fine-tuned"),
        ([tuned, "--start", tuned, "--start-weight", "0.5"], "is fine-tuned too"),
        ([tuned, "--start", other, "--start-weight", "0.5"], "did not begin with"),
    ]
    wide = torch.load(other, weights_only=False)
    wide["model"]["layer_norm.weight"] = torch.ones(9)
    torch.save(wide, other)
    for given, named in cases:
        assert main(["average", *given, "--dest", str(dest)]) == 2
        assert named in capsys.readouterr().err
    assert not dest.exists()
