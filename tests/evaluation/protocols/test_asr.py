"""Recognition as an evaluation: what is checked beforehand, what decides a result, one real run."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import tiny
import torch

from mgf_fairseq.encoder.config import EncoderConfig
from mgf_fairseq.evaluation.finetuning import training
from mgf_fairseq.evaluation.finetuning.recipe import RecipeError, find_recipe, load_recipe
from mgf_fairseq.evaluation.finetuning.side_by_side import train_side_by_side
from mgf_fairseq.evaluation.finetuning.training import RecognitionError
from mgf_fairseq.evaluation.protocols import asr, asr_plan
from mgf_fairseq.evaluation.protocols.asr import run_recognition
from mgf_fairseq.evaluation.protocols.asr_plan import RecognitionOptions, plan_recognition
from mgf_fairseq.evaluation.protocols.asr_training import trainings_of
from mgf_fairseq.evaluation.result_files import read_record, write_record
from mgf_fairseq.evaluation.results import RecognitionResult
from mgf_fairseq.evaluation.tasks import TASKS
from mgf_fairseq.extract.upstream import load_upstream
from mgf_fairseq.host.training_process import TrainingError
from mgf_fairseq.inference.wer import score_corpus, score_utterance

TEXTS = ("A B | C D |", "E F A |")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Train, valid and test with letters."""
    folder = tiny.write_corpus(tmp_path / "data", num_valid=8)
    root, *rows = (folder / "valid.tsv").read_text().splitlines()
    for split, part in (("valid", rows[:4]), ("test", rows[4:])):
        (folder / f"{split}.tsv").write_text("\n".join([root, *part]) + "\n")
    for split, rows in (("train", 12), ("valid", 4), ("test", 4)):
        (folder / f"{split}.ltr").write_text("\n".join(TEXTS * (rows // 2)) + "\n")
    (folder / "dict.ltr.txt").write_text("".join(f"{x} 10\n" for x in "|ABCDEF"))
    return folder


def options(shape: Path | None = None, **recipe: object) -> RecognitionOptions:
    small = ("dataset.max_tokens=80000", "dataset.num_workers=0")
    return RecognitionOptions(load_recipe(max_update=2, overrides=small, **recipe), shape=shape)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("test.tsv", r"--test-percent"),
        ("valid.tsv", r"valid\.tsv does not exist"),
        ("test.ltr", r"task asr cannot be run.*--labels ltr"),
        ("dict.ltr.txt", r"dict\.ltr\.txt does not exist.*--labels ltr"),
    ],
)
def test_a_folder_without_a_split_or_its_labels_is_named_with_the_fix(
    data, checkpoint, missing, words
):
    (data / missing).unlink()
    with pytest.raises(RecognitionError, match=words):
        plan_recognition(load_upstream(checkpoint), data, data / "cache", options())


def test_labels_of_another_length_are_refused(data, checkpoint):
    (data / "test.ltr").write_text("A |\n")
    with pytest.raises(ValueError, match="1 lines for 4 utterances"):
        plan_recognition(load_upstream(checkpoint), data, data / "cache", options())


def test_segments_are_refused_where_fairseq_would_read_them(data, checkpoint):
    def cut(split):
        root, *rows = (data / f"{split}.tsv").read_text().splitlines()
        cut_rows = [row.replace("\t", ":0:16000\t") for row in rows]
        (data / f"{split}.tsv").write_text("\n".join([root, *cut_rows]) + "\n")

    cut("test")  # is scored by ourselves
    assert plan_recognition(load_upstream(checkpoint), data, data / "cache", options())
    cut("valid")
    with pytest.raises(RecognitionError, match=r"valid\.tsv line 2 .*:0:16000.* mgf shard .*--cut"):
        plan_recognition(load_upstream(checkpoint), data, data / "cache", options())


def test_labels_are_counted_as_fairseq_counts_them(data, checkpoint):
    (data / "test.ltr").write_text("A \u2028 B |\n" * 4)
    assert plan_recognition(load_upstream(checkpoint), data, data / "cache", options())


def test_splits_that_share_a_recording_are_refused(data, checkpoint):
    (data / "test.tsv").write_text((data / "valid.tsv").read_text())
    with pytest.raises(ValueError, match=r"valid and test share 4 recording\(s\)"):
        plan_recognition(load_upstream(checkpoint), data, data / "cache", options())


def test_features_without_a_transformer_need_one_to_be_named(data, checkpoint):
    with pytest.raises(RecognitionError, match="--asr-shape"):
        plan_recognition(load_upstream("fbank"), data, data / "cache", options())
    plan = plan_recognition(load_upstream("fbank"), data, data / "cache", options(checkpoint))
    assert plan.protocol["transformer"]["encoder_layers"] == 2


@pytest.mark.parametrize(
    ("kind", "info", "words"),
    [
        ("hubert", {}, "leave asr out"),
        ("apc", {}, "no recipe fine-tunes: leave asr out"),
        ("mgf", {"fine_tuned": True}, "pre-trained checkpoints"),
    ],
)
def test_an_encoder_that_the_recipe_does_not_take_is_refused(data, checkpoint, kind, info, words):
    upstream = load_upstream(checkpoint)
    other = dataclasses.replace(upstream, kind=kind, info={**upstream.info, **info})
    with pytest.raises(RecognitionError, match=words):
        plan_recognition(other, data, data / "cache", options())


def test_the_key_follows_upstream_recipe_audio_labels_version_and_seeds(
    data, checkpoint, monkeypatch
):
    def plan(upstream, chosen):
        return plan_recognition(upstream, data, data / "cache", chosen)

    upstream = load_upstream(checkpoint)
    first = plan(upstream, options())
    assert plan(load_upstream(checkpoint), options()).key == first.key
    slower = dataclasses.replace(options(), recipe=load_recipe(max_update=3))
    more = dataclasses.replace(options(), seeds=(1, 2))
    others = [
        plan(load_upstream(f"random:{checkpoint}"), options()),
        plan(upstream, slower),
        plan(upstream, more),
    ]
    assert others[2].run_key == first.run_key  # the training of seed 1 serves both
    (data / "test.ltr").write_text("A |\n" * 4)
    others.append(plan(upstream, options()))
    root, row, *_ = (data / "train.tsv").read_text().splitlines()
    path = Path(root) / row.split("\t")[0]
    waveform, rate = soundfile.read(path)
    soundfile.write(path, waveform[::-1], rate)  # same name, length and labels
    others.append(plan(upstream, options()))
    raised = dataclasses.replace(TASKS["asr"], version=TASKS["asr"].version + 1)
    monkeypatch.setitem(TASKS, "asr", raised)
    others.append(plan(upstream, options()))
    assert len({first.key, *(plan.key for plan in others)}) == 7
    assert len({first.run_key, *(plan.run_key for plan in others)}) == 6


def test_the_frame_grid_of_the_shape_decides_the_key_of_features_and_channels_do_not(
    data, tmp_path, monkeypatch
):
    def key(conv):
        shape = EncoderConfig(conv_feature_layers=conv, encoder_layers=1)
        held = SimpleNamespace(config=shape)
        monkeypatch.setattr(asr_plan, "read_encoder", lambda path: held)
        upstream = load_upstream("fbank")
        return plan_recognition(upstream, data, tmp_path / "cache", options(Path("ck.pt"))).key

    first = key("[(8, 10, 5), (8, 8, 4), (8, 4, 4), (8, 4, 4)]")
    assert key("[(16, 10, 5), (8, 8, 4), (8, 4, 4), (8, 4, 4)]") == first
    assert key("[(8, 10, 5), (8, 8, 4), (8, 8, 8), (8, 2, 2)]") != first


def test_seconds_and_commits_are_of_all_processes_of_a_training(tmp_path, monkeypatch):
    """Killed and resumed under another commit; then scored again under a third, not trained."""
    run, spent = tmp_path / "run", iter([None, 130.5])
    asked = training.Training("asr", ["train"], run, 2)

    def train(*words):
        seconds = next(spent)
        if seconds is None:
            raise TrainingError("killed", "")
        for name in ("last", "best"):
            state = {"model": {}, "extra_state": {"previous_training_time": seconds}}
            torch.save(state, run / f"checkpoint_{name}.pt")

    monkeypatch.setattr(training, "run_training", train)
    monkeypatch.setattr(training, "commit", lambda: "old")
    with pytest.raises(TrainingError):
        asked.run()
    monkeypatch.setattr(training, "commit", lambda: "new")
    found = asked.run()
    assert (found.seconds, found.commits) == (130.5, ["old", "new"])
    assert [path.name for path in run.glob("*.pt")] == ["checkpoint_best.pt"]
    monkeypatch.setattr(training, "commit", lambda: "newest")
    again = asked.run()  # `spent` has nothing left to give
    assert again == found
    assert asr._commits([again], "newest") == "newest, trained at old, new"
    assert asr._commits([training.Trained(1.0, ["a"])], "a") == "a"


def test_the_interval_counts_an_utterance_with_its_errors_in_all_seeds():
    seeds = [["AB", "AX"], ["AB", "XX"]]
    scores = []
    for hypotheses in seeds:
        rows = [score_utterance(str(i), "AB", text) for i, text in enumerate(hypotheses)]
        scores.append(asr.ManifestScore(score_corpus(rows), rows, [0, 1], {}))
    utterances = asr._counts(scores)
    assert [utterance.counts for utterance in utterances] == [
        [0, 1, 0, 1, 2, 0],
        [0, 1, 2, 1, 2, 3],
    ]
    low, high, over = asr._interval(utterances, 2)
    # Of two utterances, the first without an error and the second with 3 of 4: 0 to 75 %.
    assert (low, high) == (0.0, 75.0) and over == "2 utterances (speakers unknown)"


def test_a_recipe_is_its_yaml_with_the_overrides(tmp_path):
    recipe = load_recipe(max_update=100, overrides=("optimization.lr=[0.002]",))
    assert recipe.max_update == 100 and recipe.protocol["lr"] == 0.002
    assert recipe.config.dataset.validate_interval_updates == 100
    assert recipe.protocol["seconds_per_update"] == 40.0
    assert recipe.protocol["recipe_digest"] != load_recipe().protocol["recipe_digest"]
    pieces = load_recipe(labels="spm")
    assert pieces.config.criterion.post_process == "sentencepiece"
    with pytest.raises(RecipeError, match="expected key=value"):
        load_recipe(overrides=("optimization.lr",))
    with pytest.raises(RecipeError, match=r"did you mean 'optimization\.max_update'\?"):
        load_recipe(overrides=("optimization.max_updat=3",))
    with pytest.raises(RecipeError, match=r"model\.layerdop is not .* mean layerdrop\?"):
        load_recipe(overrides=("+model.layerdop=0.1",))
    # A key that has a default and no line in the YAML, as the training takes it.
    assert load_recipe(overrides=("model.freeze_regex=a",)).overrides[-1] == "+model.freeze_regex=a"
    with pytest.raises(RecipeError, match="'phn' is none of ltr, spm"):
        load_recipe(labels="phn")
    with pytest.raises(RecipeError, match="not a fine-tuning recipe"):
        load_recipe(tmp_path / "none.yaml")
    with pytest.raises(RecipeError, match="CTC recipe"):
        load_recipe(find_recipe().parent / "seq2seq.yaml")


@pytest.mark.slow
def test_every_kind_of_upstream_is_fine_tuned_scored_and_not_trained_twice(
    data, checkpoint, tmp_path, monkeypatch
):
    results, work = {}, tmp_path / "work"
    plans = {
        spec: plan_recognition(load_upstream(spec), data, tmp_path / "cache", options(checkpoint))
        for spec in (str(checkpoint), "mfcc", f"random:{checkpoint}")
    }
    two = [one for plan in list(plans.values())[:2] for one in trainings_of(plan, work)]
    train_side_by_side(two, 2, lambda text: None)
    assert all(one.finished() for one in two)
    for spec, plan in plans.items():
        results[spec] = run_recognition(plan, work)
    runs = sorted((tmp_path / "work").glob("*/seed1"))
    assert len(runs) == 3
    for run in runs:
        assert [path.name for path in run.glob("*.pt")] == ["checkpoint_best.pt"]
    result = results["mfcc"]
    assert "mfcc frames" in result.protocol["start"]
    assert len(result.examples) == 4 and result.examples[0].reference == "AB CD"
    assert result.data.test.items == 6 and result.data.classes == list("|ABCDEF")
    assert np.isfinite([*result.test["cer"], *result.valid["wer"], result.low, result.high]).all()
    write_record(tmp_path / "asr.json", result)
    assert read_record(tmp_path / "asr.json", RecognitionResult) == result
    assert json.loads((tmp_path / "asr.json").read_text())["task"] == "asr"

    def fail(*args: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(training, "run_training", fail)
    again = run_recognition(plan, tmp_path / "work")
    last = results[f"random:{checkpoint}"]
    assert again.test == last.test
    # The training took longer than its scoring, and its time counts in both.
    trained = json.loads((runs[-1] / "done").read_text())["seconds"]
    assert min(again.seconds, last.seconds) >= trained > 0 and again.commit == last.commit


@pytest.mark.slow
def test_a_training_that_fails_is_named_by_its_reason_and_can_be_repeated(
    data, checkpoint, tmp_path
):
    plan = plan_recognition(load_upstream(checkpoint), data, data / "cache", options())
    for path in (data / "audio").iterdir():
        path.unlink()
    with pytest.raises(TrainingError, match=r"console\.log") as error:
        run_recognition(plan, tmp_path / "work")
    assert "Traceback" in (tmp_path / "work" / f"mgf-{plan.run_key}/seed1/console.log").read_text()
    assert error.value.tail.strip()
