"""The files of a preparation are one set: all new, all old, or refused; and nobody else's."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mgf_fairseq.check.audio import Options
from mgf_fairseq.check.manifests import check_manifests, exit_code, find_manifests
from mgf_fairseq.data.entries import ManifestError
from mgf_fairseq.data.manifest import read_manifest
from mgf_fairseq.data.prepared import BusyError, staging
from mgf_fairseq.prepare.labels import LabelError
from mgf_fairseq.prepare.options import PrepareOptions
from mgf_fairseq.prepare.prepare import Summary, prepare
from mgf_fairseq.utils.atomic import ForeignFileError


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """Twelve recordings, each beside its transcript, which names it."""
    for number in range(12):
        path = tmp_path / "in" / f"u{number:02d}.wav"
        path.parent.mkdir(exist_ok=True)
        noise = np.random.default_rng(number).uniform(-0.1, 0.1, 16000)
        soundfile.write(path, noise, 16000)
        path.with_suffix(".txt").write_text(f"{'ABCDEFGHIJKL'[number]}\n")
    return tmp_path / "in"


def run(source: Path, dest: Path, **options: object) -> Summary:
    return prepare(PrepareOptions(source=source, dest=dest, **options))  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def belong_together(folder: Path) -> bool:
    """Whether each row's transcript is the one that lies beside its audio."""
    for manifest in folder.glob("*.tsv"):
        paths = read_manifest(manifest).paths
        words = manifest.with_suffix(".wrd").read_text().split()
        if words != ["ABCDEFGHIJKL"[int(path[1:3])] for path in paths]:
            return False
    return True


def test_a_preparation_that_fails_leaves_the_earlier_one_as_it_was(speech, tmp_path):
    run(speech, tmp_path / "d", valid_percent=0.25, seed=1)
    before = contents(tmp_path / "d")
    with pytest.raises(LabelError):
        run(speech, tmp_path / "d", seed=2, labels=("wrd", "spm"), spm_vocab_size=4000)
    assert contents(tmp_path / "d") == before
    with pytest.raises(LabelError):
        run(speech, tmp_path / "new", labels=("wrd", "spm"), spm_vocab_size=4000)
    assert not (tmp_path / "new").exists()


def test_a_kill_between_two_files_is_refused_by_all_readers_until_it_is_repeated(
    speech, tmp_path, monkeypatch
):
    dest = tmp_path / "d"
    run(speech, dest, valid_percent=0.25, test_percent=0.25, seed=1)
    whole = os.replace
    moved = []

    def killed(source, target):
        if ".preparing" in str(source) and ".preparing" not in str(target):
            moved.append(target)
            if len(moved) == 3:
                raise KeyboardInterrupt
        whole(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        run(speech, dest, valid_percent=0.25, seed=2)
    monkeypatch.undo()
    with pytest.raises(ManifestError, match="stopped while it replaced"):
        read_manifest(dest / "train.tsv")
    assert exit_code(check_manifests(find_manifests(dest), Options())) == 2
    summary = run(speech, dest, valid_percent=0.25, seed=2)
    assert belong_together(dest) and not (dest / "test.tsv").exists()
    assert any("removed" in note and "test.wrd" in note for note in summary.notes)
    run(speech, tmp_path / "fresh", valid_percent=0.25, seed=2)
    assert contents(dest) == contents(tmp_path / "fresh")


def test_files_of_an_earlier_run_that_were_changed_since_are_kept_and_named(speech, tmp_path):
    dest = tmp_path / "d"
    run(speech, dest, valid_percent=0.25, test_percent=0.25)
    (dest / "test.wrd").write_text("mine\n")
    notes = run(speech, dest, valid_percent=0.25, labels=()).notes
    assert sorted(dest.glob("*.wrd")) == [dest / "test.wrd"]
    assert any("test.wrd" in note and "kept" in note for note in notes)


def test_check_finds_labels_beside_a_manifest_of_other_rows(speech, tmp_path):
    dest = tmp_path / "d"
    run(speech, dest, valid_percent=0, labels=("wrd",))
    root, *rows = (dest / "train.tsv").read_text().splitlines()

    def rules() -> set[str]:
        reports = check_manifests(find_manifests(dest), Options())
        return {finding.rule for report in reports for finding in report.findings}

    moved = [row.replace("u", "u", 1) for row in rows]
    (dest / "train.tsv").write_text("\n".join([root, *moved]) + "\n")
    assert rules() == set()
    (dest / "train.tsv").write_text("\n".join([root, *reversed(rows)]) + "\n")
    assert rules() == {"label of other rows (train.wrd)"}
    words = (dest / "train.wrd").read_text().splitlines()
    (dest / "train.wrd").write_text("\n".join(reversed(words)) + "\n")
    assert rules() == set()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.tsv", "client_id\tpath\tsentence\nx\tu00.wav\tHello\n"),
        ("train.wrd", "my own words\n"),
        ("dict.wrd.txt", "a list of mine\n"),
        ("skipped.txt", "lines that I skipped\n"),
    ],
)
def test_what_prepare_did_not_write_is_not_replaced(speech, tmp_path, name, content):
    dest = tmp_path / "d"
    dest.mkdir()
    (dest / name).write_text(content)
    with pytest.raises(ForeignFileError, match=name):
        run(speech, dest, valid_percent=0)
    assert contents(dest) == {name: content.encode()}


def test_a_folder_of_an_earlier_version_is_prepared_again(speech, tmp_path):
    dest = tmp_path / "d"
    run(speech, dest, valid_percent=0, caveats=("by ear",))
    (dest / ".prepared.json").unlink()
    run(speech, dest, valid_percent=0.25, caveats=("by machine",))
    assert belong_together(dest)


def test_the_table_that_was_read_is_never_taken_for_a_manifest_nor_for_a_leftover(speech):
    rows = [f"{path.stem}\t{path.name}" for path in sorted(speech.glob("*.wav"))]
    (speech / "metadata.tsv").write_text("\n".join(["utt\tpath", *rows]) + "\n")
    run(speech, speech, valid_percent=0)
    assert not any("metadata" in note for note in run(speech, speech, valid_percent=0).notes)
    assert find_manifests(speech) == [speech / "train.tsv"]


def test_two_preparations_of_one_folder_at_once_do_not_meet(speech, tmp_path):
    with staging(tmp_path / "d"), pytest.raises(BusyError, match="another command"):
        run(speech, tmp_path / "d")
