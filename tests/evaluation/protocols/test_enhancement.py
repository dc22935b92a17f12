"""mgf evaluate --tasks enhancement: a linear mask on frozen features, from audio to the record."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import tiny

from mgf_fairseq.cli import main
from mgf_fairseq.evaluation.enhancement.mixtures import MixtureConfig
from mgf_fairseq.evaluation.labeled import ProbeError
from mgf_fairseq.evaluation.options import ProbeOptions
from mgf_fairseq.evaluation.probes.trainer import ProbeConfig
from mgf_fairseq.evaluation.protocols import enhancement_plan as module
from mgf_fairseq.evaluation.protocols.enhancement import run_enhancement
from mgf_fairseq.evaluation.result_files import read_results
from mgf_fairseq.extract.upstream import load_upstream

SPEAKERS = {"train": "abcd", "valid": "ef", "test": "gh"}


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Synthetic speech of different speakers; few mixtures of hiss, and short training."""
    monkeypatch.setattr(module, "MIXTURES", MixtureConfig(
        seconds=1.0, learned=("tilted", "patchy"), unheard=("brown",)))  # fmt: skip
    monkeypatch.setattr(
        module, "_PROBE", ProbeConfig(batch_size=32, epoch_items=2400, max_epochs=8)
    )
    folder = tmp_path / "data"
    folder.mkdir()
    for name, speakers in SPEAKERS.items():
        lines, labels = [str(folder)], []
        for number in range(4 * len(speakers)):
            sound = tiny.speech_like(1.2, seed=hash_of(name, number))
            soundfile.write(folder / f"{name}{number}.wav", sound, 16000, subtype="FLOAT")
            lines.append(f"{name}{number}.wav\t{len(sound)}")
            labels.append(speakers[number // 4])
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n")
        (folder / f"{name}.spk").write_text("\n".join(labels) + "\n")
    return folder


def hash_of(name, number):
    return 100 * list(SPEAKERS).index(name) + number


def plan(data, **options):
    chosen = ProbeOptions(**{"seeds": (1, 2), **options})
    return module.plan_enhancement(load_upstream("fbank"), data, data.parent / "cache", chosen)


def test_log_mel_gains_more_than_one_mask_for_all_and_less_than_the_ideal_one(data, capsys):
    dest = data.parent / "results"
    command = ["evaluate", "--checkpoint", "fbank", "--tasks", "enhancement", "--seeds", "1,2"]
    assert main([*command, "--data", str(data), "--dest", str(dest), "--device", "cpu"]) == 0
    shown = capsys.readouterr().out
    assert "one mask for all" in shown and "over 2 speakers" in shown
    result = read_results(dest / "fbank").tasks["enhancement"]
    (layer,) = result.representations
    (gains,) = layer.test.values()
    assert result.chance["si_sdr_gain"] + 0.5 < np.mean(gains) < result.ideal["si_sdr_gain"]
    assert np.mean([u.gain for u in result.utterances]) == pytest.approx(np.mean(gains))
    assert {u.noise for u in result.utterances} == {"brown"} and result.data.classes == []
    assert (result.data.train.utterances, result.data.test.utterances) == (16, 8)
    assert [u.speaker for u in result.utterances] == list("gggghhhh")
    assert main([*command, "--data", str(data), "--dest", str(dest), "--device", "cpu"]) == 0
    assert "enhancement is done, skipped\n" in capsys.readouterr().out


def test_layers_left_aside_have_no_share_of_the_sum_and_broken_audio_is_counted(data, checkpoint):
    (data / "train0.wav").write_bytes(b"no audio")
    upstream = load_upstream(checkpoint)
    options = ProbeOptions(seeds=(1,), layers=("0", "2"))
    asked = module.plan_enhancement(upstream, data, data.parent / "cache", options)
    result = run_enhancement(asked)
    assert [r.name for r in result.representations] == ["layer 0", "layer 2", "weighted sum"]
    assert result.layer_weights[1] == 0 and sum(result.layer_weights) == pytest.approx(1)
    best = max(result.representations, key=lambda r: np.mean(r.valid["si_sdr_gain"]))
    assert result.representations[result.chosen] == best
    assert result.data.train.utterances == 15 and "1 utterance(s) are unread" in result.data.note


def test_the_key_covers_mixtures_and_seeds_and_splits_share_no_speaker(data, monkeypatch):
    keys = {plan(data).key, plan(data, seeds=(1,)).key}
    louder = dataclasses.replace(module.MIXTURES, max_snr=5.0)
    monkeypatch.setattr(module, "MIXTURES", louder)
    assert len(keys | {plan(data).key}) == 3
    (data / "test.spk").write_text("a\n" * 8)
    with pytest.raises(ProbeError, match="train and test share 1 speaker"):
        plan(data)
    assert plan(data, disjoint="utterances")


def test_probes_without_a_finite_loss_are_named(data):
    asked = plan(data)
    deaf = SimpleNamespace(**{
        name: getattr(asked.upstream, name) for name in ("geometry", "layer_names", "sample_rate")
    }, kind="fbank", info=asked.upstream.info)  # fmt: skip

    class Deaf(SimpleNamespace):
        def __call__(self, waveforms):
            features = asked.upstream(waveforms)
            features.hidden_states[0].fill_(float("nan"))
            return features

    with pytest.raises(ProbeError, match="probes of fbank never had a finite loss"):
        run_enhancement(dataclasses.replace(asked, upstream=Deaf(**vars(deaf))))
