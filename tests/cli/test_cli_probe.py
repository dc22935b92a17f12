"""`mgf probe` from audio to a table and files; the upstream stays as it was, bit for bit."""

import pytest
import soundfile
import tiny
import tiny_checkpoints as checkpoints
import torch

from mgf_fairseq.cli import main
from mgf_fairseq.evaluation.options import ProbeOptions
from mgf_fairseq.evaluation.probing import plan_probe, run_probe
from mgf_fairseq.evaluation.result_files import read_results
from mgf_fairseq.extract.upstream import load_upstream


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """A prepared folder of 3 speakers with 4 utterances of half a second each."""
    data = tmp_path_factory.mktemp("spoken")
    rows = []
    for number in range(12):
        waveform = tiny.speech_like(0.5, number)
        soundfile.write(data / f"{number}.wav", waveform, 16000)
        rows.append(f"{number}.wav\t{len(waveform)}")
    (data / "train.tsv").write_text("\n".join([str(data), *rows]) + "\n")
    (data / "train.spk").write_text("".join(f"{s}\n" * 4 for s in "abc"))
    (data / "train.emo").write_text("anger\njoy\n" * 6)
    return data


@pytest.fixture
def small(tmp_path):
    """A checkpoint of a tiny encoder in a folder of its own."""
    (tmp_path / "tiny_run").mkdir()
    return checkpoints.mgf_checkpoint(tmp_path / "tiny_run" / "ck.pt")


def test_probe_prints_layers_by_metrics_and_writes_the_result(spoken, small, tmp_path, capsys):
    dest = tmp_path / "results"
    arguments = ["probe", "--tasks", "emotion", "--checkpoint", str(small), "--data", str(spoken)]
    arguments += ["--dest", str(dest), "--seeds", "1", "--device", "cpu"]
    held = small.read_bytes()
    assert main(arguments) == 0
    shown = capsys.readouterr()
    printed = shown.out
    assert "this is mgf evaluate --checkpoint CK --tasks TASK now" in shown.err
    assert "leave one speaker out (3 folds)" in printed and "exactly one Linear" in printed
    for name in ("layer 0, mean ", "layer 2, mean+std", "weighted sum, mean", "majority"):
        assert name in printed
    assert printed.count("<- chosen") == 1
    found = read_results(dest / "tiny_run")
    assert found.upstream.layer_names == ["layer 0", "layer 1", "layer 2"]
    assert found.tasks["emotion"].command and found.tasks["emotion"].seeds == [1]
    assert small.read_bytes() == held


def test_evaluate_with_one_task_and_one_representation_gives_the_same_as_probe_did(
    spoken, tmp_path, capsys
):
    shared = ["--data", str(spoken), "--seeds", "1", "--device", "cpu"]
    old = ["probe", "--task", "emotion", "--upstream", "mfcc", "--dest", str(tmp_path / "old")]
    assert main([*old, *shared]) == 0
    new = ["evaluate", "--task", "emotion", "--checkpoint", "mfcc", "--dest", str(tmp_path / "new")]
    assert main([*new, *shared]) == 0
    found = [read_results(tmp_path / name / "mfcc").tasks["emotion"] for name in ("old", "new")]
    assert found[0].representations == found[1].representations and found[0].key == found[1].key
    first, second = capsys.readouterr().out.split("mgf report")[:2]
    assert first.count("<- chosen") == second.count("<- chosen") == 1


def test_a_hidden_layer_is_named_as_such(spoken, tmp_path, capsys):
    arguments = ["probe", "--tasks", "emotion", "--checkpoint", "mfcc", "--data", str(spoken)]
    arguments += ["--dest", str(tmp_path), "--seeds", "1", "--hidden", "4", "--device", "cpu"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "one hidden layer of 4" in printed and "exactly one Linear" not in printed


def test_the_upstream_is_unchanged_bit_for_bit(spoken, small, tmp_path):
    upstream = load_upstream(small)
    before = {name: value.clone() for name, value in upstream.model.state_dict().items()}
    options = ProbeOptions(seeds=(1,), layers=("1",))
    run_probe(plan_probe("emotion", upstream, spoken, tmp_path / "cache", options))
    after = upstream.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert all(p.grad is None for p in upstream.model.parameters())


def test_the_same_command_gives_the_same_numbers(spoken, tmp_path):
    options = ProbeOptions(seeds=(1,))
    upstream = load_upstream("mfcc")
    plan = plan_probe("emotion", upstream, spoken, tmp_path / "cache", options)
    first, second = (run_probe(plan).result.representations for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (["--seeds", "1,x"], "--seeds 1,x"),
        (["--seeds", "2,2"], "--seeds 2,2"),
        (["--hidden", "-1"], "hidden=-1"),
        (["--layers", "7"], "no layer"),
        (["--tasks", "phone"], "holds no .phn labels"),
    ],
)
def test_a_wrong_option_is_one_line_and_writes_nothing(spoken, tmp_path, capsys, change, named):
    dest = tmp_path / "results"
    arguments = ["probe", "--tasks", "emotion", "--checkpoint", "mfcc", "--data", str(spoken)]
    assert main([*arguments, "--dest", str(dest), "--device", "cpu", *change]) == 2
    note, shown = capsys.readouterr().err.splitlines()
    assert note.startswith("mgf probe: note: ") and shown.startswith("mgf probe: error: ")
    assert any(part in shown for part in named.split("|"))
    assert not dest.exists()


def test_a_failure_half_way_leaves_no_result(spoken, tmp_path, monkeypatch, capsys):
    def broken(*arguments, **more):
        raise ValueError("the disk is full")

    monkeypatch.setattr("mgf_fairseq.evaluation.protocols.emotion.cross_validate", broken)
    dest = tmp_path / "results"
    arguments = ["probe", "--tasks", "emotion", "--checkpoint", "mfcc", "--data", str(spoken)]
    assert main([*arguments, "--dest", str(dest), "--device", "cpu"]) == 2
    assert "the disk is full" in capsys.readouterr().err
    assert not list(dest.rglob("emotion*"))
