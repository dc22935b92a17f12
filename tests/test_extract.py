"""Features from checkpoints: every kind that holds our encoder's form, and nothing else."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fairseq.data import Dictionary
from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config, Wav2Vec2Model
from omegaconf import OmegaConf

from mgf_fairseq.checkpoint import CheckpointError
from mgf_fairseq.extract import load_encoder
from mgf_fairseq.model import MgfConfig, MgfModel

SHAPE = {
    "conv_feature_layers": "[(8, 10, 5)] + [(8, 3, 2)] * 4 + [(8, 2, 2)] * 2",
    "encoder_layers": 2,
    "encoder_embed_dim": 16,
    "encoder_ffn_embed_dim": 24,
    "encoder_attention_heads": 2,
    "conv_pos": 8,
    "conv_pos_groups": 4,
}
TASK = {"sample_rate": 16000, "normalize": True}


def save(path: Path, model: torch.nn.Module, config: dict, prefix: str = "") -> Path:
    weights = {f"{prefix}{k}": v for k, v in model.state_dict().items()}
    torch.save({"model": weights, "cfg": config}, path)
    return path


def mgf(objectives: dict | None = None) -> tuple[MgfModel, dict]:
    torch.manual_seed(0)
    model = MgfModel(MgfConfig(**SHAPE, objectives=objectives, sample_rate=16000, seed=1)).eval()
    return model, {"model": {**SHAPE, "_name": "mgf"}, "task": TASK}


def waveforms() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=n).astype(np.float32) for n in (8000, 5000, 400)]


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
    path = save(tmp_path / "ck.pt", model, outer, prefix="w2v_encoder.w2v_model.")
    state = torch.load(path)
    state["task_state"] = {"target_dictionary": Dictionary()}
    torch.save(state, path)
    plain = load_encoder(save(tmp_path / "plain.pt", model, config))(waveforms())
    tuned = load_encoder(path)(waveforms())
    assert all(map(torch.equal, plain.hidden_states, tuned.hidden_states))


@pytest.mark.parametrize("mode", ["layer_norm", "default"])
def test_stock_wav2vec2_gives_fairseqs_features_and_a_batch_equals_singles(
    tmp_path: Path, mode: str
) -> None:
    torch.manual_seed(0)
    structured = OmegaConf.structured(Wav2Vec2Config(**SHAPE, extractor_mode=mode))
    model = Wav2Vec2Model(structured).eval()
    plain = OmegaConf.to_container(structured, enum_to_str=True)
    config = {"model": {**plain, "_name": "wav2vec2"}, "task": {**TASK, "normalize": False}}
    encoder = load_encoder(save(tmp_path / "ck.pt", model, config))
    batch = encoder(waveforms())
    for row, waveform in enumerate(waveforms()):
        with torch.no_grad():
            expected = model.extract_features(torch.from_numpy(waveform)[None], None)["x"]
        frames = int(batch.lengths[row])
        actual = batch.hidden_states[-1][row : row + 1, :frames]
        torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)


def test_other_checkpoints_and_waveforms_are_refused_with_their_name(tmp_path: Path) -> None:
    model, config = mgf()
    other = {**config, "model": {**config["model"], "_name": "data2vec_audio"}}
    with pytest.raises(CheckpointError, match="'data2vec_audio'; give one of mgf, wav2vec2, hub"):
        load_encoder(save(tmp_path / "a.pt", model, other))
    deeper = {**config, "model": {**config["model"], "encoder_layers": 3}}
    with pytest.raises(CheckpointError, match="not of this form"):
        load_encoder(save(tmp_path / "b.pt", model, deeper))
    with pytest.raises(CheckpointError, match="no such"):
        load_encoder(tmp_path / "absent.pt")
    encoder = load_encoder(save(tmp_path / "c.pt", model, config))
    with pytest.raises(ValueError, match=r"waveform 1 has shape \(2, 800\)"):
        encoder([np.zeros(800), np.zeros((2, 800))])


class Evil:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("harm"),))


def test_a_pickle_that_would_run_a_command_is_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": {}, "cfg": Evil()}, "evil.pt")
    with pytest.raises(CheckpointError, match="refused"):
        load_encoder("evil.pt")
    assert not Path("harm").exists()
