"""Fuzzed checkpoints: bytes, pickles and contents; loaded or refused by name, nothing executed."""

from __future__ import annotations

import copy
import dataclasses
import io
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import tiny
import tiny_checkpoints as checkpoints
import torch
from fairseq import checkpoint_utils
from fuzzing import cases, outcome, spoiled
from hypothesis import given
from hypothesis import strategies as st

from mgf_fairseq.checkpoints.files import CheckpointError
from mgf_fairseq.checkpoints.reading import read_checkpoint
from mgf_fairseq.extract.encoder import load_encoder
from mgf_fairseq.extract.pretrained import load_pretrained
from mgf_fairseq.host.checkpointing import guard_checkpoints
from mgf_fairseq.inference.recognizer import load_recognizer

guard_checkpoints()
LOADERS = {
    "read_checkpoint": read_checkpoint,
    "load_pretrained": load_pretrained,
    "load_encoder": load_encoder,
    "load_recognizer": lambda path: load_recognizer(path, path.parent),
    "fairseq": lambda path: checkpoint_utils.load_checkpoint_to_cpu(str(path)),
}
NAMES = st.sampled_from(sorted(LOADERS))

# ---- whatever starts a program or evaluates text while a checkpoint is read

_STARTS = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "subprocess.Popen")
_executed: list[str] = []
_reading = False


def _listen(event: str, arguments: Any) -> None:
    if _reading and event in _STARTS:
        _executed.append(f"{event} {arguments}")


sys.addaudithook(_listen)


def load(name: str, path: Path) -> tuple[Any, str]:
    """Load; refused is fine if the file is named, and nothing may have been started."""
    global _reading
    _executed.clear()
    _reading = True
    try:
        return outcome(lambda: LOADERS[name](path), CheckpointError, str(path))
    finally:
        _reading = False
        assert not _executed


# ---- the files


def state() -> dict[str, Any]:
    """A pre-trained MGF of the tests' size, as fairseq's trainer saves it."""
    model, config = checkpoints.mgf(objectives={"utterance": tiny.OBJECTIVES["utterance"]})
    settings = dataclasses.asdict(model.cfg)
    config["model"] = {**settings, **config["model"], "sample_rate": 16000, "seed": 1}
    history = [{"num_updates": 5, "optimizer_name": "FairseqAdam", "lr_scheduler_state": {}}]
    extra = {"metrics": None, "previous_training_time": 1.0, "train_iterator": {"epoch": 1}}
    entries = {"optimizer_history": history, "extra_state": extra, "args": None}
    return {"model": model.state_dict(), "cfg": config, **entries}


def saved(content: Any, zipped: bool = True) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=zipped)
    return stream.getvalue()


STATE = state()
WHOLE, OLD = saved(STATE), saved(STATE, zipped=False)
PIECES = (
    *(b"cos\nsystem\n", b"cposix\nsystem\n", b"c__builtin__\neval\n", b"cbuiltins\nexec\n"),
    *(b"X\x04\x00\x00\x00trueq\x00\x85R", b"\x8c\x02os\x8c\x06system\x93", b"R", b".", b"(", b"b"),
    *(b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nload\n", b"\x88", b"}", b"]", b"N", b"Q"),
    *(b"J\xff\xff\xff\x7f", b"\x8a\x08" + b"\xff" * 7 + b"\x7f", b"ccollections\nOrderedDict\n"),
    *(
        b"X\xff\xff\xff\x7f",
        b"\x96" + b"\xff" * 7 + b"\x7f",
        b"PK\x03\x04",
        b"PK\x01\x02",
        b"\0" * 8,
    ),
)


def test_every_loader_that_reads_it_reads_what_is_not_spoiled(tmp_path):
    path = tmp_path / "ck.pt"
    path.write_bytes(WHOLE)
    for name in ("read_checkpoint", "load_pretrained", "load_encoder", "fairseq"):
        found, said = load(name, path)
        assert found is not None, said
    path.write_bytes(OLD)
    assert load("load_encoder", path)[0] is not None


@given(name=NAMES, data=st.one_of(spoiled(WHOLE, PIECES), spoiled(OLD, PIECES)))
@cases(100)
def test_spoiled_bytes_are_refused_by_name(tmp_path_factory, name, data):
    path = tmp_path_factory.getbasetemp() / "ck.pt"
    path.write_bytes(data)
    load(name, path)


def with_pickle(pickle: bytes) -> bytes:
    """The same file, checksums and all, around another pickle."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(WHOLE)) as before, zipfile.ZipFile(stream, "w") as after:
        for entry in before.namelist():
            after.writestr(entry, pickle if entry.endswith("/data.pkl") else before.read(entry))
    return stream.getvalue()


with zipfile.ZipFile(io.BytesIO(WHOLE)) as _archive:
    PICKLE = _archive.read(next(n for n in _archive.namelist() if n.endswith("/data.pkl")))


@given(name=NAMES, pickle=spoiled(PICKLE, PIECES))
@cases(100)
def test_a_spoiled_pickle_in_a_whole_file_is_refused_and_runs_nothing(
    tmp_path_factory, name, pickle
):
    path = tmp_path_factory.getbasetemp() / "ck.pt"
    path.write_bytes(with_pickle(pickle))
    load(name, path)


# ---- well-formed files with wrong contents

PLACES = (
    *(("model",), ("cfg",), ("cfg", "model"), ("cfg", "task"), ("cfg", "model", "_name")),
    *(("cfg", "model", name) for name in checkpoints.SHAPE),
    *(("cfg", "task", "sample_rate"), ("cfg", "task", "normalize"), ("cfg", "model", "objectives")),
    *(("optimizer_history",), ("extra_state",), ("extra_state", "metrics"), ("mgf_format",)),
    *(("model", name) for name in list(STATE["model"])[::7]),
)
WRONG = st.sampled_from(
    (
        *(
            None,
            True,
            0,
            -1,
            7,
            2**40,
            0.5,
            float("nan"),
            "",
            "mgf",
            "wav2vec2",
            "hubert",
            "wav2vec_ctc",
        ),
        *([], [1], {}, {"a": 1}, {"_name": "mgf"}, "${oc.env:HOME}", "${model.encoder_layers}"),
        *(torch.zeros(3), torch.zeros(0, 2), torch.zeros(2, dtype=torch.int64), b"bytes"),
    )
)


@given(name=NAMES, edits=st.lists(st.tuples(st.sampled_from(PLACES), WRONG), max_size=2))
@cases(100)
def test_wrong_contents_are_refused_by_name(tmp_path_factory, name, edits):
    content = {**STATE, "cfg": copy.deepcopy(STATE["cfg"]), "model": dict(STATE["model"])}
    content["extra_state"] = dict(STATE["extra_state"])
    for place, value in edits:
        inner: Any = content
        for key in place[:-1]:
            inner = inner[key] if isinstance(inner, dict) and key in inner else {}
        if isinstance(inner, dict):
            inner[place[-1]] = value
    path = tmp_path_factory.getbasetemp() / "ck.pt"
    path.write_bytes(saved(content))
    load(name, path)


@pytest.mark.parametrize("name", sorted(LOADERS))
def test_the_listener_hears_a_program_that_is_started(name, tmp_path, monkeypatch):
    path = tmp_path / "ck.pt"
    monkeypatch.setitem(LOADERS, name, lambda path: os.system("true"))
    with pytest.raises(AssertionError, match=r"os\.system"):
        load(name, path)
