"""Which file of a run's folder is read, and one line for everything that is no checkpoint."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_checkpoints import mgf, mgf_checkpoint, save

from mgf_fairseq.checkpoints.files import CheckpointError
from mgf_fairseq.checkpoints.reading import find_checkpoint
from mgf_fairseq.extract.encoder import load_encoder
from mgf_fairseq.extract.pretrained import load_pretrained
from mgf_fairseq.extract.upstream import load_upstream
from mgf_fairseq.inference.recognizer import load_recognizer

LOADERS: dict[str, Callable[[Path], Any]] = {
    "load_encoder": load_encoder,
    "load_upstream": load_upstream,
    "random": lambda path: load_upstream(f"random:{path}"),
    "load_pretrained": load_pretrained,
    "load_recognizer": lambda path: load_recognizer(path, path.parent),
}


def fine_tuned(path: Path, seed: int = 0) -> Path:
    model, config = mgf(seed=seed)
    outer = {"model": {"_name": "wav2vec_ctc", "w2v_args": config}, "task": {"labels": "ltr"}}
    return save(path, model, outer, prefix="w2v_encoder.w2v_model.")


def test_a_folder_is_the_last_of_a_pre_training_and_the_best_of_a_fine_tuning(
    tmp_path: Path,
) -> None:
    made = {"pretrained": mgf_checkpoint, "tuned": fine_tuned}
    for name, make in made.items():
        (tmp_path / name).mkdir()
        make(tmp_path / name / "checkpoint_last.pt", seed=1)
        assert find_checkpoint(tmp_path / name).name == "checkpoint_last.pt"  # there is no other
        make(tmp_path / name / "checkpoint_best.pt", seed=2)
    chosen = {name: find_checkpoint(tmp_path / name).name for name in made}
    assert chosen == {"pretrained": "checkpoint_last.pt", "tuned": "checkpoint_best.pt"}
    for name, file in chosen.items():
        expected = load_upstream(tmp_path / name / file)
        upstream = load_upstream(tmp_path / name)
        assert upstream.fingerprint == expected.fingerprint and upstream.info == expected.info
        fresh = load_upstream(f"random:{tmp_path / name}@7").info
        assert (fresh["seed"], fresh["path"]) == (7, f"random:{tmp_path / name / file}@7")
        found, wanted = (
            load_encoder(path).state_dict() for path in (tmp_path / name, tmp_path / name / file)
        )
        assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def no_folder(path: Path) -> None:
    path.mkdir()


def of_other_files(path: Path) -> None:
    path.mkdir()
    mgf_checkpoint(path / "checkpoint_1_500.pt")


def of_runs(path: Path) -> None:
    (path / "all").mkdir(parents=True)
    mgf_checkpoint(path / "all" / "checkpoint_last.pt")


def half_written(path: Path) -> None:
    whole = mgf_checkpoint(path.with_name("whole.pt")).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def in_a_broken_folder(path: Path) -> None:
    path.mkdir()
    half_written(path / "checkpoint_last.pt")
    shutil.copy(path / "whole.pt", path / "checkpoint_best.pt")


def of_transformers(path: Path) -> None:
    torch.save({"wav2vec2.masked_spec_embed": torch.zeros(3)}, path)


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "absent": (lambda path: None, "no such"),
    "an empty file": (Path.touch, "it is no file that torch.save has written"),
    "text": (lambda path: path.write_text("/audio\n1.wav\t8000\n"), "no file that torch.save has"),
    "half a file": (half_written, "it is cut short or changed"),
    "of transformers": (of_transformers, r"not a fairseq checkpoint \(it has no 'model' entry\)"),
    "an empty folder": (no_folder, "a folder without checkpoint_last.pt or checkpoint_best.pt"),
    "other files": (of_other_files, "did you mean .*checkpoint_1_500.pt"),
    "a folder of runs": (of_runs, r"did you mean .*given/all\?"),
    "a broken folder": (in_a_broken_folder, "checkpoint_last.pt: refused"),
}


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_checkpoint_is_one_line_with_its_name(
    tmp_path: Path, case: str, loader: str
) -> None:
    make, words = REFUSED[case]
    make(tmp_path / "given")
    with pytest.raises(CheckpointError, match=words) as caught:
        LOADERS[loader](tmp_path / "given")
    assert "\n" not in str(caught.value) and f"{tmp_path}/given" in str(caught.value)


def test_a_checkpoint_of_another_kind_says_which_it_is(tmp_path: Path) -> None:
    pretrained, tuned = mgf_checkpoint(tmp_path / "a.pt"), fine_tuned(tmp_path / "b.pt")
    with pytest.raises(CheckpointError, match=r"a\.pt: this is a 'mgf' checkpoint, not one fine-"):
        load_recognizer(pretrained, tmp_path)
    with pytest.raises(CheckpointError, match=r"b\.pt: holds a model 'wav2vec_ctc', not a pre-tr"):
        load_pretrained(tuned)
    with pytest.raises(CheckpointError, match=r"fbnk.*\(did you mean 'fbank'\?\)"):
        load_upstream("fbnk")
