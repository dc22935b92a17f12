"""Features from checkpoints: every kind that holds our encoder's form, and nothing else."""

from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from fairseq.data import Dictionary
from tiny_checkpoints import TASK, hubert, hubert_ctc, mgf, save, wav2vec2, waveforms
from torch import Tensor

from mgf_fairseq.checkpoints.files import CheckpointError
from mgf_fairseq.extract.encoder import load_encoder
from mgf_fairseq.extract.waveform_model import Features

# Group norm (wav2vec 2.0 and HuBERT Base), and the Large form.
FORMS = [{}, {"extractor_mode": "layer_norm", "layer_norm_first": True, "conv_bias": True}]


def test_a_pretrained_mgf_gives_all_hidden_states_lengths_and_frame_rate(tmp_path: Path) -> None:
    model, config = mgf({"phoneme": {"final_dim": 8}})
    features = load_encoder(save(tmp_path / "ck.pt", model, config))(waveforms())
    assert [tuple(x.shape) for x in features.hidden_states] == [(3, 24, 16)] * 3
    assert features.lengths.tolist() == [24, 15, 1]
    assert features.frame_rate == 50.0
    waveform = torch.from_numpy(waveforms()[0])[None]
    with torch.no_grad():
        expected, _ = model.encode(torch.nn.functional.layer_norm(waveform, waveform.shape))
    # fp32 rounding: kernels block differently for other batch shapes.
    torch.testing.assert_close(features.hidden_states[-1][:1], expected.context, atol=1e-5, rtol=0)


def test_a_fine_tuned_checkpoint_gives_its_encoder(tmp_path: Path) -> None:
    model, config = mgf()
    outer = {"model": {"_name": "wav2vec_ctc", "w2v_args": config}, "task": {"labels": "ltr"}}
    held = {"target_dictionary": Dictionary()}
    path = tmp_path / "ck.pt"
    save(path, model, outer, prefix="w2v_encoder.w2v_model.", task_state=held)
    plain = load_encoder(save(tmp_path / "plain.pt", model, config))(waveforms())
    tuned = load_encoder(path)(waveforms())
    assert all(map(torch.equal, plain.hidden_states, tuned.hidden_states))


def assert_rows(batch: Features, layer: int, expected: list[Tensor]) -> None:
    """Compare one layer of a batch with (1, T, D) of each waveform alone."""
    for row, single in enumerate(expected):
        actual = batch.hidden_states[layer][row : row + 1, : int(batch.lengths[row])]
        torch.testing.assert_close(actual, single, atol=1e-5, rtol=0)  # fp32 rounding


@pytest.mark.parametrize("mode", ["layer_norm", "default"])
def test_stock_wav2vec2_gives_fairseqs_features_and_a_batch_equals_singles(
    tmp_path: Path, mode: str
) -> None:
    model, config = wav2vec2(extractor_mode=mode)
    batch = load_encoder(save(tmp_path / "ck.pt", model, config))(waveforms())
    with torch.no_grad():
        singles = [model.extract_features(torch.from_numpy(w)[None], None) for w in waveforms()]
    assert_rows(batch, -1, [single["x"] for single in singles])


def hubert_layer(model: torch.nn.Module, waveform: np.ndarray, layer: int) -> Tensor:
    """What fairseq's HuBERT says of one waveform, normalized as its task does, at a layer."""
    source = torch.from_numpy(waveform)[None]
    with torch.no_grad():
        source = torch.nn.functional.layer_norm(source, source.shape)
        return model.extract_features(source, output_layer=layer)[0]


@pytest.mark.parametrize("form", FORMS, ids=["base", "large"])
def test_a_pretrained_hubert_gives_fairseqs_hidden_states(tmp_path: Path, form: dict) -> None:
    model, config = hubert(tmp_path, **form)
    batch = load_encoder(save(tmp_path / "ck.pt", model, config))(waveforms())
    for layer in (1, 2):
        assert_rows(batch, layer, [hubert_layer(model, w, layer) for w in waveforms()])


@pytest.mark.parametrize("form", FORMS, ids=["base", "large"])
def test_a_fine_tuned_hubert_gives_its_encoder(tmp_path: Path, form: dict) -> None:
    model, path = hubert_ctc(tmp_path, tmp_path / "ck.pt", **form)
    batch = load_encoder(path)(waveforms())
    assert_rows(batch, 1, [hubert_layer(model, w, 1) for w in waveforms()])


def test_a_checkpoint_from_before_hydra_gives_its_encoder(tmp_path: Path) -> None:
    model, config = wav2vec2()
    inner = {**config["model"], **config["task"], "arch": "wav2vec2", "seed": 5}
    outer = {"arch": "wav2vec_ctc", "w2v_args": Namespace(**inner), "normalize": False}
    weights = model.state_dict()
    torch.save({"model": weights, "args": Namespace(**inner)}, tmp_path / "old.pt")
    tuned = {f"w2v_encoder.w2v_model.{name}": value for name, value in weights.items()}
    torch.save({"model": tuned, "args": Namespace(**outer)}, tmp_path / "tuned.pt")
    new = load_encoder(save(tmp_path / "new.pt", model, config))(waveforms())
    for name in ("old.pt", "tuned.pt"):
        old = load_encoder(tmp_path / name)(waveforms())
        assert all(map(torch.equal, old.hidden_states, new.hidden_states))


def test_other_checkpoints_and_waveforms_are_refused_with_their_name(tmp_path: Path) -> None:
    model, config = mgf()

    def saved(**changes: object) -> Path:
        return save(tmp_path / "a.pt", model, {**config, "model": {**config["model"], **changes}})

    with pytest.raises(CheckpointError, match="'data2vec_audio'; give one of mgf, wav2vec2, hub"):
        load_encoder(saved(_name="data2vec_audio"))
    with pytest.raises(CheckpointError, match="not of this form"):
        load_encoder(saved(encoder_layers=3))
    with pytest.raises(CheckpointError, match="activation_fn=relu"):
        load_encoder(saved(activation_fn="relu"))
    with pytest.raises(CheckpointError, match="no such"):
        load_encoder(tmp_path / "absent.pt")
    outer = {"model": {"_name": "wav2vec_ctc"}, "task": TASK}
    with pytest.raises(CheckpointError, match="w2v_args"):
        load_encoder(save(tmp_path / "b.pt", model, outer, prefix="w2v_encoder.w2v_model."))
    with pytest.raises(CheckpointError, match="no configuration"):
        load_encoder(save(tmp_path / "c.pt", model, {}))
    encoder = load_encoder(save(tmp_path / "d.pt", model, config))
    with pytest.raises(ValueError, match=r"waveform 1 has shape \(2, 800\)"):
        encoder([np.zeros(800), np.zeros((2, 800))])
    with pytest.raises(ValueError, match="no waveform given"):
        encoder([])


class Evil:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("harm"),))


def test_a_pickle_that_would_run_a_command_is_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": {}, "cfg": Evil()}, "evil.pt")
    with pytest.raises(CheckpointError, match="refused"):
        load_encoder("evil.pt")
    assert not Path("harm").exists()
