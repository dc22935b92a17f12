"""Upstreams: specs, baselines on the encoder's frame grid, and fingerprints."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_checkpoints import SHAPE, hubert, mgf, mgf_checkpoint, save, wav2vec2, waveforms

from mgf_fairseq.checkpoints.files import CheckpointError
from mgf_fairseq.encoder.config import EncoderConfig
from mgf_fairseq.encoder.geometry import ConvGeometry, parse_conv_layers
from mgf_fairseq.extract.upstream import load_upstream


def test_every_kind_says_its_name_and_has_a_layer_name_per_hidden_state(tmp_path: Path) -> None:
    checkpoint = mgf_checkpoint(tmp_path / "mgf.pt")
    specs = {
        "mgf": checkpoint,
        "wav2vec2": save(tmp_path / "w2v.pt", *wav2vec2()),
        "hubert": save(tmp_path / "hubert.pt", *hubert(tmp_path)),
        "random": f"random:{checkpoint}",
        "fbank": "fbank",
        "mfcc": "mfcc",
    }
    for kind, spec in specs.items():
        upstream = load_upstream(spec)
        features = upstream(waveforms())
        assert upstream.kind == kind
        assert len(features.hidden_states) == len(upstream.layer_names)
        assert {x.shape[-1] for x in features.hidden_states} == {upstream.width}
        assert features.lengths.tolist() == [24, 15, 1]
        assert (upstream.sample_rate, upstream.frame_rate) == (16000, features.frame_rate)
        assert upstream.info["path"] == str(spec) or kind == "random"


def test_the_history_of_a_training_is_given(tmp_path: Path) -> None:
    model, config = mgf()
    config |= {"common": {"seed": 3}, "criterion": {"loss_weights": {"frame": 0.5}}}
    config["criterion"]["gradient_shares"] = {"frame": 1.0}
    config["model"]["objectives"] = {"frame": {"level": "50%"}}
    extra = {"previous_training_time": 60.0, "metrics": {"default": [(10, "audio_h", "", {})]}}
    extra["metrics"]["default"][0][3]["sum"] = torch.tensor(2.5)
    updates = [{"num_updates": 40}]
    path = tmp_path / "ck.pt"
    save(path, model, config, extra_state=extra, optimizer_history=updates)
    info = load_upstream(path).info
    told = {"num_updates": 40, "seed": 3, "audio_hours": 2.5, "train_seconds": 60.0}
    told |= {"objectives": {"frame": {"level": "50%"}}, "loss_weights": {"frame": 0.5}}
    told["gradient_shares"] = {"frame": 1.0}
    assert {name: info[name] for name in told} == told
    bare = load_upstream(save(tmp_path / "bare.pt", *mgf())).info
    assert bare["num_updates"] is bare["seed"] is bare["audio_hours"] is None


def test_a_fingerprint_follows_what_is_computed_and_nothing_else(tmp_path: Path) -> None:
    model, config = mgf({"phoneme": {"final_dim": 8}})
    this = load_upstream(save(tmp_path / "a.pt", model, config)).fingerprint
    model.remove_pretraining_modules()
    stripped = load_upstream(save(tmp_path / "elsewhere.pt", model, config)).fingerprint
    assert stripped == this
    other_task = {**config, "task": {**config["task"], "normalize": False}}
    raw = load_upstream(save(tmp_path / "b.pt", model, other_task)).fingerprint
    with torch.no_grad():
        model.encoder.layers[1].fc2.bias[3] += 1e-6
    nudged = load_upstream(save(tmp_path / "c.pt", model, config)).fingerprint
    others = [load_upstream(spec).fingerprint for spec in ("fbank", "mfcc")]
    assert len({this, raw, nudged, *others}) == 5


def test_extracting_leaves_the_upstream_as_it_was(tmp_path: Path) -> None:
    upstream = load_upstream(mgf_checkpoint(tmp_path / "ck.pt"))
    before = {name: value.clone() for name, value in upstream.model.state_dict().items()}
    upstream(waveforms())
    after = upstream.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not upstream.model.training


@pytest.mark.parametrize("spec", ["mgf", "wav2vec2", "fbank"])
def test_a_segment_is_heard_alone_and_is_the_mean_over_its_frames(
    tmp_path: Path, spec: str
) -> None:
    made = {"mgf": mgf, "wav2vec2": wav2vec2}
    path = save(tmp_path / "ck.pt", *made[spec]()) if spec in made else spec
    whole = load_upstream(path)
    pieces = whole.of_segments(0.1)
    assert pieces.fingerprint not in (whole.fingerprint, whole.of_segments(0.2).fingerprint)
    waveform, short = waveforms(5000, 900)
    found = pieces([waveform, short])
    assert found.frame_rate == pieces.frame_rate == 10.0
    assert found.lengths.tolist() == [3, 1]  # 200 samples are skipped; all of the short one counts
    for number, segment in enumerate([*waveform[:4800].reshape(3, 1600), short]):
        alone = whole([segment])
        for vectors, states in zip(found.hidden_states, alone.hidden_states, strict=True):
            row, place = divmod(number, 3)
            torch.testing.assert_close(vectors[row, place], states[0].mean(0), rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match=r"segments of 0.01 s are 160 samples, fewer than"):
        whole.of_segments(0.01)
    with pytest.raises(ValueError, match=r"waveform 1 has 100 samples, fewer than the 400"):
        pieces([waveform, short[:100]])
    with pytest.raises(ValueError, match=r"waveform 0 has shape \(5000, 2\)"):
        pieces([np.stack([waveform, waveform], 1)])


def test_no_more_than_a_minute_of_segments_is_encoded_at_once() -> None:
    pieces = load_upstream("fbank").of_segments(7.0)
    heard: list[int] = []
    pieces.model.model.register_forward_pre_hook(
        lambda _, given: heard.append(sum(len(segment) for segment in given[0]))
    )
    recording = np.random.default_rng(0).normal(size=150 * 16000).astype(np.float32)
    assert pieces([recording]).lengths.tolist() == [21]
    assert heard == [56 * 16000, 56 * 16000, 35 * 16000]


def test_random_weights_follow_the_seed_alone(tmp_path: Path) -> None:
    path = mgf_checkpoint(tmp_path / "ck.pt")
    state = torch.get_rng_state()
    by_spec = {name: load_upstream(f"random:{path}{name}").fingerprint for name in ("", "@1", "@7")}
    assert torch.equal(state, torch.get_rng_state())
    assert by_spec[""] == by_spec["@1"] != by_spec["@7"]
    trained = load_upstream(path).fingerprint
    other = mgf_checkpoint(tmp_path / "other.pt", seed=5)  # of the same shape
    assert load_upstream(f"random:{other}").fingerprint == by_spec[""] != trained
    assert load_upstream(f"random:{path}@7").info["seed"] == 7


def test_a_file_name_with_an_at_sign_is_not_taken_for_a_seed(tmp_path: Path) -> None:
    path = mgf_checkpoint(tmp_path / "ck@7")
    assert load_upstream(f"random:{path}").info["seed"] == 1


@pytest.mark.parametrize("spec", ["fbank", "mfcc"])
def test_baselines_give_a_batch_what_each_waveform_gets(spec: str) -> None:
    upstream = load_upstream(spec)
    many = waveforms(8000, 5000, 400, 16005, 719, 720)
    batch = upstream(many)
    assert batch.hidden_states[0].shape[-1] == {"fbank": 80, "mfcc": 39}[spec]
    for row, waveform in enumerate(many):
        single = upstream([waveform]).hidden_states[0][0]
        actual = batch.hidden_states[0][row, : int(batch.lengths[row])]
        # fp32 rounding of FFTs in other batch shapes, on values of up to 100
        torch.testing.assert_close(actual, single, atol=1e-4, rtol=0)


@pytest.mark.parametrize("spec", ["fbank", "mfcc"])
def test_baselines_have_the_frames_of_the_encoder(spec: str) -> None:
    geometry = ConvGeometry.of(parse_conv_layers(EncoderConfig().conv_feature_layers))
    lengths = [*range(400, 2000, 37), 15999, 16000, 16079, 16080]
    frames = load_upstream(spec)(waveforms(*lengths)).lengths.tolist()
    assert frames == [geometry.num_frames(n) for n in lengths]


def test_frame_t_of_fbank_is_centred_on_sample_320_t_plus_200() -> None:
    waveform = np.zeros(16000, np.float32)
    waveform[320 * 21 + 200] = 1.0
    energy = load_upstream("fbank")([waveform]).hidden_states[0][0].mean(dim=-1)
    assert int(energy.argmax()) == 21
    torch.testing.assert_close(energy[20], energy[22], atol=1e-4, rtol=0)  # fp32 rounding


def test_baselines_do_not_hear_the_level_of_a_recording_but_its_spectrum() -> None:
    loud = waveforms(8000)[0]
    for spec in ("fbank", "mfcc"):
        both = load_upstream(spec)([loud, loud * np.float32(0.01)]).hidden_states[0]
        # The variance of the quiet one is 1e-4, to which layer_norm adds 1e-5.
        torch.testing.assert_close(both[0, :, 1:], both[1, :, 1:], atol=0.11, rtol=0)
        assert both[0].std() > 0.1


def test_what_is_no_upstream_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"fbnk.*no such checkpoint.*fbank, mfcc"):
        load_upstream("fbnk")
    with pytest.raises(CheckpointError, match="absent"):
        load_upstream(f"random:{tmp_path / 'absent.pt'}")
    with pytest.raises(ValueError, match="waveform 1 has 399 samples"):
        load_upstream("mfcc")(waveforms(400, 399))


def test_a_checkpoint_at_another_rate_has_its_own_frame_rate(tmp_path: Path) -> None:
    model, config = mgf()
    config = {**config, "task": {"sample_rate": 8000, "normalize": True}}
    upstream = load_upstream(save(tmp_path / "ck.pt", model, config))
    assert (upstream.sample_rate, upstream.frame_rate) == (8000, 25.0)
    assert SHAPE["encoder_layers"] + 1 == len(upstream.layer_names)
