"""mgf evaluate: all is checked first, results land in folders, finished results are skipped."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny
import torch

from mgf_fairseq.checkpoints.files import CheckpointError
from mgf_fairseq.checkpoints.pretraining_data import note_training_data
from mgf_fairseq.cli import main
from mgf_fairseq.data.manifest import read_manifest
from mgf_fairseq.evaluation import run as module
from mgf_fairseq.evaluation.protocols.asr_plan import Plan
from mgf_fairseq.evaluation.result_files import read_results
from mgf_fairseq.evaluation.results import Example, RecognitionResult, SplitSize, TaskData
from mgf_fairseq.extract.infilled import read_infilling
from mgf_fairseq.extract.pretrained import load_pretrained
from mgf_fairseq.host.training_process import TrainingError
from mgf_fairseq.prepare.options import PrepareOptions
from mgf_fairseq.prepare.prepare import prepare

SPEAKERS = ("ann", "bob", "cat", "dan", "eve", "fay")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six speakers of ten utterances with every label; speakers differ, and so do emotions."""
    source = tmp_path_factory.mktemp("source")
    rows = ["utt\tpath\tspeaker\temotion\tsplit\ttext"]
    phones = ["utt\tstart\tend\tphone"]
    for number, speaker in enumerate(SPEAKERS):
        for take in range(10):
            utt, emotion = f"{speaker}{take}", ("calm", "loud")[take % 2]
            waveform = tiny.speech_like(1.3, seed=100 * number + take)
            time = np.arange(len(waveform)) / 16000
            waveform = waveform + 0.1 * np.sin(2 * np.pi * (500 + 400 * number) * time)
            half = len(waveform) // 2
            waveform[half:] += 0.2 * np.sin(2 * np.pi * 3000 * time[half:])
            waveform *= 0.3 if emotion == "calm" else 1.0
            soundfile.write(source / f"{utt}.flac", waveform.astype(np.float32) / 2, 16000)
            split = "train" if number < 4 else ("valid", "test")[number - 4]
            split = "speaker_test" if number < 4 and take >= 8 else split
            rows.append(f"{utt}\t{utt}.flac\t{speaker}\t{emotion}\t{split}\tAB CD")
            phones += [f"{utt}\t0\t0.65\tAA", f"{utt}\t0.65\t1.3\tSIL"]
    (source / "metadata.tsv").write_text("\n".join(rows) + "\n")
    (source / "phones.tsv").write_text("\n".join(phones) + "\n")
    dest = tmp_path_factory.mktemp("data") / "toy"
    prepare(PrepareOptions(source=source, dest=dest, caveats=("a toy corpus",)))
    return dest


@pytest.fixture
def recognized(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace the fine-tuning; the list holds what was asked for."""
    asked: list[str] = []

    def fake(plan: Plan, work: Path, progress: object) -> RecognitionResult:
        asked.append(plan.upstream.kind)
        size = SplitSize(utterances=1, hours=0.1, items=2)
        rates = {"wer": [90.0], "cer": [50.0], "blank_ratio": [0.5]}
        return RecognitionResult(
            command="c",
            commit="c",
            hardware="h",
            date="d",
            seconds=1.0,
            data=TaskData(folder="toy", classes=["A"], train=size, valid=size, test=size),
            protocol=plan.protocol,
            key=plan.key,
            seeds=[1],
            valid=rates,
            test=rates,
            low=40.0,
            high=60.0,
            examples=[Example(reference="AB", hypothesis="A")],
        )

    monkeypatch.setattr(module, "run_recognition", fake)
    return asked


def evaluate(dest: Path, data: Path, *words: str) -> int:
    command = ["evaluate", "--data", str(data), "--dest", str(dest), "--seeds", "1,2"]
    return main([*command, "--device", "cpu", *words])


@pytest.fixture
def error(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What the command said on standard error."""
    return lambda: capsys.readouterr().err


def test_three_probes_and_recognition_land_in_a_folder_each_and_a_table_is_shown(
    data, tmp_path, recognized, capsys, checkpoint
):
    dest = tmp_path / "results"
    words = ["--checkpoint", "fbank", f"random:{checkpoint}", "--name", "fbank", "fresh"]
    assert evaluate(dest, data, *words, "--group", "encoders") == 0
    shown = capsys.readouterr().out
    assert recognized == ["fbank", "random"]
    folder = read_results(dest / "fbank")
    assert set(folder.tasks) == {"phone", "speaker", "emotion"} and folder.recognition
    phone = folder.tasks["phone"]
    assert phone.data.classes == ["AA", "SIL"] and phone.seeds == [1, 2]
    assert "a toy corpus" in phone.data.note and "a toy corpus" in shown
    assert read_results(dest / "fresh").upstream.group == "encoders"
    assert folder.upstream.group == "fbank"
    rows = [line.split() for line in shown.splitlines()]
    (header,) = (row for row in rows if row[:1] == ["representation"])
    assert header[-2:] == ["CER", "WER"]
    (fresh,) = (row for row in rows if row[:1] == ["fresh"])
    assert fresh[-2:] == ["50.0", "90.0"] and fresh.count("+-") == 4
    assert "mgf report" in shown


def test_the_same_command_again_makes_nothing_anew_and_another_seed_does(
    data, tmp_path, recognized, capsys, checkpoint
):
    dest = tmp_path / "results"
    words = ["--checkpoint", "fbank", "--asr-shape", str(checkpoint), "--tasks", "speaker,asr"]
    assert evaluate(dest, data, *words) == 0
    before = {path: path.read_bytes() for path in (dest / "fbank").iterdir()}
    assert evaluate(dest, data, *words) == 0
    told = capsys.readouterr().out
    assert told.count("is done, skipped") == 2
    assert told.count("skipped (without counts per utterance") == 1  # the replaced recognizer's
    assert {path: path.read_bytes() for path in (dest / "fbank").iterdir()} == before
    assert evaluate(dest, data, *words, "--seeds", "3") == 0
    assert json.loads((dest / "fbank/speaker.json").read_text())["seeds"] == [3]
    (dest / "fbank/asr.json").write_text("{broken")
    assert evaluate(dest, data, *words, "--seeds", "3") == 0
    assert len(recognized) == 2


def test_fine_tunings_that_are_not_done_are_trained_side_by_side_before_the_first_task(
    data, tmp_path, recognized, checkpoint, monkeypatch, capsys
):
    asked: list[list[str]] = []

    def train(trainings, jobs, say):
        assert jobs == 2 and not (tmp_path / "fresh/asr.json").exists()
        say("training")
        asked.append([f"{one.folder.parent.name[:6]} {one.folder.name}" for one in trainings])

    monkeypatch.setattr(module, "train_side_by_side", train)
    words = ["--checkpoint", "fbank", f"random:{checkpoint}", "--tasks", "asr"]
    words += ["--asr-seeds", "1,2", "--name", "fbank", "fresh"]
    assert evaluate(tmp_path, data, *words, "--asr-jobs", "2") == 0
    assert asked == [["fbank- seed1", "fbank- seed2", "random seed1", "random seed2"]]
    assert capsys.readouterr().out.index("training") == 0
    (tmp_path / "fresh/asr.json").unlink()
    assert evaluate(tmp_path, data, *words, "--asr-jobs", "2") == 0
    assert asked[1:] == [["random seed1", "random seed2"]]
    assert evaluate(tmp_path, data, *words) == 0 and len(asked) == 2


def test_a_label_of_the_data_is_a_task_beside_the_others_and_a_row_of_the_report(
    data, tmp_path, recognized, capsys
):
    folder = tmp_path / "labeled"
    folder.mkdir()
    for path in data.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    for path in data.glob("*.emo"):
        (folder / f"{path.stem}.mood").write_bytes(path.read_bytes())
    dest = tmp_path / "results"
    words = ["--checkpoint", "fbank", "mfcc", "--tasks", "speaker", "--task", "mood"]
    assert evaluate(dest, folder, *words, "--segment-seconds", "0.5") == 0
    found = read_results(dest / "fbank").tasks
    assert set(found) == {"speaker", "mood"} and found["mood"].metric == "accuracy"
    assert "segments of 0.5 s" in found["speaker"].protocol["items"]
    assert found["mood"].protocol["disjoint"] == "no recording and no speaker in two splits"
    assert set(found["mood"].chance) == {"accuracy", "uar"}
    assert "mood accuracy" in capsys.readouterr().out
    assert main(["report", str(dest), "--dest", str(tmp_path / "report")]) == 0
    page = (tmp_path / "report/index.html").read_text()
    assert "Mood classification" in page and "a label of the corpus" in page
    assert "mood classification, accuracy" in (tmp_path / "report/results.md").read_text()


def test_a_task_without_labels_is_named_with_the_fix_before_anything_runs(
    data, tmp_path, recognized, error
):
    bare = tmp_path / "bare"
    bare.mkdir()
    for path in data.iterdir():
        if path.suffix in (".tsv", ".phn"):
            (bare / path.name).write_bytes(path.read_bytes())
    dest = tmp_path / "results"
    assert evaluate(dest, bare, "--checkpoint", "fbank", "--tasks", "phone,emotion") == 2
    told = error()
    assert "task emotion" in told and "--labels emo" in told and "--emotion-data" in told
    assert not dest.exists()
    assert evaluate(dest, bare, "--checkpoint", "fbank", "--tasks", "phone,speaker") == 2
    assert "--labels spk" in error() and not dest.exists()
    words = ["--checkpoint", "fbank", "--tasks", "emotion", "--emotion-data", str(data)]
    assert evaluate(dest, bare, *words) == 0  # where the labels are


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["--checkpoint", "fbank", "--tasks", "phones"],
            "no task 'phones': choose from phone",
        ),
        (["--checkpoint", "fbank", "--tasks", "spk"], "no task 'spk'"),
        (["--checkpoint", "fbank", "--layers", "7", "--task", "phone"], "no layer '7'"),
        (["--checkpoint", "nowhere.pt"], "nowhere.pt"),
        (["--checkpoint", "fbank", "mfcc", "--name", "one"], "--name takes one for each"),
        (["--checkpoint", "fbank", "fbank"], "its own name with --name"),
        (["--checkpoint", "fbank", "--name", "../x"], "cannot name a folder"),
        (["--checkpoint", "fbank", "--tasks", "asr"], "--asr-shape"),
        (["--checkpoint", "fbank", "--seeds", "1,1"], "different whole numbers"),
        (["--checkpoint", "fbank", "--asr-override", "lr"], "expected key=value"),
        (["--checkpoint", "fbank", "--asr-recipe", "x.yaml"], "not a fine-tuning recipe"),
        (["--checkpoint", "fbank", "--asr-jobs", "0"], "must be at least 1"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_and_leaves_nothing(data, tmp_path, words, told, error):
    assert evaluate(tmp_path / "results", data, *words) == 2
    assert told in error()
    assert not (tmp_path / "results").exists() or not list((tmp_path / "results").glob("*/*.json"))


def test_a_folder_of_another_representation_is_not_overwritten(data, tmp_path, error):
    words = ["--tasks", "speaker", "--name", "mine"]
    assert evaluate(tmp_path, data, "--checkpoint", "fbank", *words) == 0
    assert evaluate(tmp_path, data, "--checkpoint", "mfcc", *words) == 2
    assert "another representation" in error()


def test_a_failed_training_shows_the_end_of_its_log_and_earlier_results_stand(
    data, tmp_path, monkeypatch, error, checkpoint
):
    def fail(*args: object) -> None:
        raise TrainingError("fairseq-hydra-train stopped", "the last lines\n")

    monkeypatch.setattr(module, "run_recognition", fail)
    words = ["--checkpoint", "fbank", "--asr-shape", str(checkpoint), "--tasks", "speaker,asr"]
    assert evaluate(tmp_path, data, *words) == 2
    told = error()
    assert "the last lines" in told and "fairseq-hydra-train stopped" in told
    assert (tmp_path / "fbank/speaker.json").is_file()
    assert not (tmp_path / "fbank/asr.json").exists()


def test_a_checkpoint_brings_its_training_log_and_what_it_makes_of_an_utterance(
    data, tmp_path, checkpoint, capsys
):
    words = ["--checkpoint", str(checkpoint), "--tasks", "speaker", "--name", "mgf"]
    assert evaluate(tmp_path, data, *words) == 0
    assert "no hydra_train.log beside" in capsys.readouterr().out
    assert soundfile.info(tmp_path / "mgf/reconstruction.wav").samplerate == 16000
    assert read_infilling(tmp_path / "mgf/infilling.npz").frame_rate == 50
    log = checkpoint.parent / "hydra_train.log"
    log.write_text('[x][train_inner][INFO] - {"loss": "2.5", "num_updates": "10"}\n')
    try:
        assert evaluate(tmp_path, data, *words) == 0
    finally:
        log.unlink()
    entry = json.loads((tmp_path / "mgf/training.jsonl").read_text())
    assert entry == {"kind": "train_inner", "loss": 2.5, "num_updates": 10.0}


def test_test_recordings_that_were_pre_trained_on_are_counted_in_results_and_report(
    data, tmp_path, checkpoint, capsys
):
    heard = tmp_path / "heard" / "mgf.pt"
    heard.parent.mkdir()
    state = torch.load(checkpoint, weights_only=True)
    note_training_data(state["task_state"], read_manifest(data / "speaker_test.tsv"))
    torch.save(state, heard)
    words = ["--checkpoint", str(heard), str(checkpoint), "fbank", "--task", "speaker"]
    names = ["--name", "heard", "silent", "fbank"]
    assert evaluate(tmp_path / "results", data, *words, *names, "--layers", "last") == 0
    found = [
        read_results(tmp_path / "results" / name).tasks["speaker"].overlap for name in names[1:]
    ]
    told = "8 of 8 test recordings were in the pre-training data, by content"
    assert found[0].words == told and found[2] is None
    assert "unknown whether any of 8 test recordings" in found[1].words
    assert told in capsys.readouterr().out
    assert main(["report", str(tmp_path / "results"), "--dest", str(tmp_path / "report")]) == 0
    text = (tmp_path / "report/results.md").read_text()
    assert f"heard, speaker classification: {told}; the score is not of unheard speech" in text
    assert "unknown whether test recordings were pre-trained on by silent" in text
    assert told in (tmp_path / "report/index.html").read_text()


def test_the_reconstruction_needs_no_objective_but_sample(checkpoint, tmp_path):
    state = torch.load(checkpoint, weights_only=True)
    kept = {k: v for k, v in state["model"].items() if not k.startswith("objectives.frame")}
    torch.save({**state, "model": kept}, tmp_path / "other.pt")
    model, _ = load_pretrained(tmp_path / "other.pt", ["sample"])
    assert model.objectives is not None and list(model.objectives) == ["sample"]
    with pytest.raises(CheckpointError, match="another version of the model"):
        load_pretrained(tmp_path / "other.pt")
