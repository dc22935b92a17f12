"""Manifests with labels: what is read, and what is refused with its fix."""

import re
from dataclasses import replace

import prepared
import pytest
from planted import OPTIONS

from mgf_fairseq.cli import main
from mgf_fairseq.evaluation.labeled import ProbeError
from mgf_fairseq.evaluation.options import ProbeOptions

pytestmark = pytest.mark.usefixtures("short_epochs")


def test_a_file_that_could_not_be_read_is_skipped_and_counted(phones, probe):
    _, run = probe(
        "phone", phones, "phn", change=lambda stores: stores.rows.update(train=[0, 1, 3])
    )
    assert run.result.data.train.utterances == 3
    assert "1 file(s) could not be read" in run.result.data.note
    assert run.result.representations[1].test["accuracy"] == [100.0, 100.0]


def drop(path, lines=1):
    rows = path.read_text().splitlines()
    path.write_text("".join(f"{row}\n" for row in rows[:-lines]))


@pytest.mark.parametrize(
    ("task", "spoil", "named"),
    [
        ("phone", lambda d: (d / "valid.tsv").unlink(), "no split 'valid'.*mgf prepare"),
        ("phone", lambda d: (d / "test.phn").unlink(), "test.phn does not exist: mgf prepare"),
        ("phone", lambda d: drop(d / "train.phn"), "3 lines for 4 .*--labels phn writes both"),
        ("phone", lambda d: (d / "test.spk").unlink(), "test.spk does not exist.*--labels spk"),
        ("phone", lambda d: (d / "test.spk").write_text("d\na\nd\n"), "share 1 speaker.*a for one"),
        ("phone", lambda d: (d / "test.phn").write_text(("ZH " * 60 + "\n") * 3), "'ZH' for one"),
        ("phone", lambda d: (d / "train.phn").write_text(("B " * 60 + "\n") * 4), "train lacks"),
        ("phone", lambda d: (d / "train.phn").write_text("\n" * 4), "line 1 is empty"),
        ("phone", lambda d: (d / "train.phn").write_text(("- " * 60 + "\n") * 4), "has a label"),
        ("speaker", lambda d: (d / "train.spk").write_text("a\n" * 4), "one speaker"),
        ("speaker", lambda d: None, "too few recordings"),
        ("emotion", lambda d: None, "no .emo labels"),
    ],
)
def test_bad_data_is_refused_with_a_fix_and_leaves_nothing(
    task, spoil, named, phones, tmp_path, monkeypatch, capsys
):
    spoil(phones)
    before = {path: path.read_bytes() for path in phones.iterdir()}
    ending = {"phone": "phn", "speaker": "spk", "emotion": "emo"}[task]
    stores = prepared.PlantedStores(tmp_path / "features", ending)
    monkeypatch.setattr("mgf_fairseq.evaluation.probing.cache_features", stores)
    dest = tmp_path / "results"
    words = ["probe", "--tasks", task, "--checkpoint", "fbank", "--data", str(phones)]
    assert main([*words, "--dest", str(dest), "--device", "cpu"]) == 2
    assert re.search(named, capsys.readouterr().err)
    assert {path: path.read_bytes() for path in phones.iterdir()} == before
    assert not list(dest.rglob(f"{task}.*"))


def test_shared_speakers_pass_where_the_corpus_is_split_by_utterance(phones, probe):
    (phones / "test.spk").write_text("a\na\nb\n")
    options = replace(OPTIONS, disjoint="utterances")
    plan, _ = probe("phone", phones, "phn", options)
    assert plan.task.protocol["disjoint"] == "no recording in two splits"
    (phones / "test.spk").unlink()  # who speaks is no part of that claim
    probe("phone", phones, "phn", options)


def test_a_recording_in_two_splits_is_refused_whatever_the_claim(phones, probe):
    rows = (phones / "train.tsv").read_text().splitlines()[1]
    with (phones / "test.tsv").open("a") as stream:
        stream.write(f"./{rows}\n")  # by another name
    for ending in ("phn", "spk"):
        with (phones / f"test.{ending}").open("a") as stream:
            stream.write("AA\n")
    options = ProbeOptions(disjoint="utterances")
    with pytest.raises(ProbeError, match=r"train and test share 1 recording\(s\)"):
        probe("phone", phones, "phn", options)
