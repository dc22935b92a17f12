"""Checkpoint files: whole or not there at every moment, verified, safe, of a known format."""

import os
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.data import Dictionary
from fairseq.file_io import PathManager

from mgf_fairseq.checkpoints.files import (
    FORMAT_KEY,
    FORMAT_VERSION,
    BrokenCheckpoint,
    CheckpointError,
    remove_parts,
    require_whole,
)
from mgf_fairseq.checkpoints.reading import read_checkpoint
from mgf_fairseq.extract.encoder import load_encoder
from mgf_fairseq.extract.pretrained import load_pretrained
from mgf_fairseq.host import saving, verification
from mgf_fairseq.inference.recognizer import load_recognizer


def state_of(updates: int) -> dict[str, Any]:
    return {
        "model": {"weight": torch.full((1000,), float(updates))},
        "optimizer_history": [{"num_updates": updates}],
        "extra_state": {"train_iterator": {"epoch": 1}},
        "cfg": {"model": {"_name": "mgf"}},
    }


def save(path: Path, updates: int) -> Path:
    checkpoint_utils.torch_persistent_save(state_of(updates), str(path))
    return path


def updates_in(path: Path) -> int:
    return int(read_checkpoint(path)["model"]["weight"][0])


def damage(path: Path) -> None:
    """Change one byte of the tensor."""
    content = bytearray(path.read_bytes())
    content[content.index(torch.full((8,), 5.0).numpy().tobytes())] ^= 1
    path.write_bytes(content)


def test_a_kill_at_any_file_operation_of_a_save_leaves_whole_checkpoints(tmp_path):
    names = ("checkpoint_1_2.pt", "checkpoint_last.pt")
    for moment in range(100):
        for name in names:
            save(tmp_path / name, 1)
        pid = os.fork()
        if pid == 0:
            die_at(moment, tmp_path)
            save(tmp_path / names[0], 2)
            PathManager.copy(str(tmp_path / names[0]), str(tmp_path / names[1]), overwrite=True)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        found = [updates_in(tmp_path / name) for name in names]
        if code == 0:
            break
        assert code == 9 and found in ([1, 1], [2, 1], [2, 2])
    assert found == [2, 2] and moment > 8  # it did die that often
    remove_parts(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_what_a_killed_save_had_begun_is_removed_and_nothing_else(tmp_path):
    begun = ["checkpoint_last.pt.part", "checkpoint_last.pt.part.tmp", "checkpoint_1_2.pt.part.tmp"]
    kept = ["checkpoint_last.pt", "checkpoint_last.pt.broken", "train.log.part"]
    for name in (*begun, *kept):
        (tmp_path / name).touch()
    remove_parts(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == kept


def die_at(moment: int, folder: Path) -> None:
    """End this process without a farewell at its moment-th operation on files of the folder."""
    left = moment

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        on_files = event.startswith(("open", "os.", "shutil."))
        if on_files and any(str(folder) in str(argument) for argument in arguments):
            left -= 1
            if left < 0:
                os._exit(9)

    sys.addaudithook(hook)


@pytest.mark.parametrize("copies", [False, True])
def test_what_cannot_be_written_says_why_and_the_old_file_stays(tmp_path, copies):
    source, path = save(tmp_path / "source.pt", 2), save(tmp_path / "checkpoint_last.pt", 1)
    # The device that is always full, in the place of the file that is being written.
    (tmp_path / "checkpoint_last.pt.part").symlink_to("/dev/full")
    (tmp_path / "checkpoint_last.pt.part.tmp").symlink_to("/dev/full")
    with pytest.raises(CheckpointError, match=r"checkpoint_last\.pt: could not be written.*free"):
        if copies:
            PathManager.copy(str(source), str(path), overwrite=True)
        else:
            save(path, 2)
    assert updates_in(path) == 1
    assert {found.name for found in tmp_path.iterdir()} == {source.name, path.name}


def test_a_write_that_fails_once_is_not_tried_again_into_the_same_file(tmp_path, monkeypatch):
    # fairseq's second try would append a whole archive to half of one.
    path, write, calls = save(tmp_path / "checkpoint_last.pt", 1), torch.save, []

    def fails_once(obj, part):
        calls.append(part)
        if len(calls) == 1:
            raise OSError(5, "Input/output error")
        write(obj, part)

    monkeypatch.setattr(torch, "save", fails_once)
    with pytest.raises(CheckpointError, match=r"could not be written.*Input/output error"):
        saving.torch_persistent_save({"model": {}}, str(path))
    assert len(calls) == 1 and updates_in(path) == 1


def test_a_checkpoint_that_loses_bytes_on_the_way_to_the_disk_replaces_nothing(
    tmp_path, monkeypatch
):
    path = save(tmp_path / "checkpoint_last.pt", 1)
    write = torch.save
    monkeypatch.setattr(
        torch, "save", lambda obj, part: (write(obj, part), os.truncate(part, 3000))
    )
    with pytest.raises(CheckpointError, match=r"could not be written.*cut short"):
        save(path, 2)
    assert updates_in(path) == 1


@pytest.mark.parametrize("length", [0, 3, 2000, -1])
def test_a_cut_checkpoint_is_named_broken(tmp_path, length):
    path = save(tmp_path / "ck.pt", 5)
    os.truncate(path, length if length >= 0 else path.stat().st_size - 1)
    with pytest.raises(BrokenCheckpoint, match=r"ck\.pt: refused"):
        read_checkpoint(path)


def test_one_changed_byte_of_a_tensor_is_noticed(tmp_path):
    path = save(tmp_path / "ck.pt", 5)
    require_whole(path)
    damage(path)
    with pytest.raises(BrokenCheckpoint, match="changed since it was written"):
        read_checkpoint(path)
    with pytest.raises(BrokenCheckpoint, match="changed since it was written"):
        checkpoint_utils.load_checkpoint_to_cpu(str(path))


def test_the_fall_back_is_the_newest_whole_checkpoint_and_the_broken_one_is_kept(tmp_path, caplog):
    last = save(tmp_path / "checkpoint_last.pt", 5)
    for name, updates in (("checkpoint_1_4", 4), ("checkpoint_best", 3), ("checkpoint1", 2)):
        save(tmp_path / f"{name}.pt", updates)
    save(tmp_path / "crash.pt", 9)  # fairseq's, without what resuming needs
    save(tmp_path / "checkpoint_1_5.pt", 5)
    damage(tmp_path / "checkpoint_1_5.pt")
    damage(last)
    broken = last.read_bytes()
    verification._fall_back(last, "", "broken")
    assert updates_in(last) == 4
    assert (tmp_path / "checkpoint_last.pt.broken").read_bytes() == broken
    assert "FALLING BACK to checkpoint_1_4.pt, update 4" in caplog.text


def test_without_another_whole_checkpoint_nothing_begins_anew_by_itself(tmp_path):
    last = save(tmp_path / "checkpoint_last.pt", 5)
    damage(last)
    with pytest.raises(CheckpointError, match=r"nor is there another.*checkpoint_last\.pt away"):
        verification._fall_back(last, "", "broken")


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


LOADERS = {
    "read_checkpoint": read_checkpoint,
    "load_pretrained": load_pretrained,
    "load_encoder": load_encoder,
    "load_recognizer": lambda path: load_recognizer(path, path.parent),
    "fairseq's resuming and w2v_path": lambda path: checkpoint_utils.load_checkpoint_to_cpu(
        str(path)
    ),
    "fairseq's ensembles": lambda path: checkpoint_utils.load_model_ensemble_and_task([str(path)]),
}


@pytest.mark.parametrize("name", list(LOADERS))
@pytest.mark.parametrize("form", ["torch.save", "before torch 1.6", "bare pickle"])
def test_a_pickle_that_would_run_a_command_is_refused_by_every_loader(
    tmp_path, name, form, monkeypatch
):
    # Users set this for old checkpoints; it makes fairseq's own torch.load run what it reads.
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    path, marker = tmp_path / "ck.pt", tmp_path / "it_ran"
    state = {**state_of(1), "args": None, "extra": Evil(marker)}
    if form == "bare pickle":
        path.write_bytes(pickle.dumps(state["extra"]))
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "torch.save")
    # torch knows no pickle protocol of today's, and so does not come as far as the name.
    reason = "" if form == "bare pickle" else r"it holds \S*system"
    with pytest.raises(CheckpointError, match=rf"ck\.pt: refused, {reason}"):
        LOADERS[name](path)
    assert not marker.exists()


def test_reading_a_checkpoint_leaves_fairseq_able_to_read_its_dictionaries(tmp_path):
    path = tmp_path / "ck.pt"
    torch.save({**state_of(1), "task_state": {"target_dictionary": Dictionary()}}, path)
    read_checkpoint(path)
    torch.load(path, weights_only=True)


def test_the_format_is_written_and_a_newer_one_is_refused(tmp_path):
    path = save(tmp_path / "ck.pt", 1)
    assert read_checkpoint(path)[FORMAT_KEY] == FORMAT_VERSION
    torch.save({**state_of(1), FORMAT_KEY: FORMAT_VERSION + 1}, path)
    for name in ("read_checkpoint", "fairseq's resuming and w2v_path"):
        with pytest.raises(CheckpointError, match=r"format 2.*reads formats up to 1"):
            LOADERS[name](path)
