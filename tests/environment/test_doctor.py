"""What is broken in an environment is found, named with its fix, and does not stop the search."""

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest

from mgf_fairseq.cli import main
from mgf_fairseq.environment import imports, machine, packages, software, system
from mgf_fairseq.environment.findings import NOTE, OK, PROBLEM
from mgf_fairseq.environment.imports import Imported
from mgf_fairseq.utils import processor


@pytest.fixture(autouse=True)
def level_of_the_log():
    level = logging.getLogger("fairseq").level
    yield
    logging.getLogger("fairseq").setLevel(level)


def attempts(monkeypatch: pytest.MonkeyPatch, **found: Imported) -> None:
    """Modules as they would be in another environment; the others are as they are."""
    monkeypatch.setattr(
        software, "attempt", lambda name: found.get(name.split(".")[-1]) or imports.attempt(name)
    )


def broken(error: str) -> Imported:
    return Imported(None, error)


def test_this_environment_has_no_broken_software(monkeypatch):
    monkeypatch.setattr(software, "core_problems", list)  # tests may run uninstalled
    checks = (software.python, software.torch, software.fairseq, software.audio_formats)
    assert [check().state for check in checks] == [OK] * 4
    assert software.fairseq_compiled().state in (OK, NOTE)


def test_a_fairseq_that_was_not_compiled_is_a_problem_with_the_command_that_compiles(monkeypatch):
    attempts(monkeypatch, data_utils_fast=broken("ImportError: no module"))
    found = software.fairseq_compiled()
    assert found.state == PROBLEM and "data_utils_fast" in found.text
    assert "pip install" in found.fix and "--no-build-isolation" in found.fix


def test_a_fairseq_compiled_for_another_torch_is_a_note(monkeypatch):
    attempts(monkeypatch, data_utils_fast=Imported(1, ""), libbase=broken("undefined symbol: x"))
    found = software.fairseq_compiled()
    assert found.state == NOTE and "another torch (undefined symbol: x)" in found.text


def test_two_fairseqs_over_each_other_are_found(monkeypatch):
    there = {"fairseq": "0.12.2", "fairseq-fixed": "0.12.3.1"}
    monkeypatch.setattr(software, "version_of", there.get)
    found = software.fairseq()
    assert found.state == PROBLEM and "fairseq-fixed, fairseq" in found.text
    assert "pip uninstall" in found.fix


def test_a_fairseq_that_raises_on_import_is_named_with_its_error(monkeypatch):
    monkeypatch.setattr(software, "version_of", {"fairseq": "0.12.2"}.get)
    attempts(monkeypatch, fairseq=broken("ValueError: mutable default"))
    found = software.fairseq()
    assert found.state == PROBLEM and "mutable default" in found.text
    assert found.fix.startswith("pip uninstall fairseq,")


def test_a_torch_that_cannot_exchange_arrays_with_numpy_is_found(monkeypatch):
    def zeros(size: int) -> object:
        raise RuntimeError("Numpy is not available")

    attempts(monkeypatch, torch=Imported(SimpleNamespace(__version__="2.5", zeros=zeros), ""))
    found = software.torch()
    assert found.state == PROBLEM and "Numpy is not available" in found.text


def test_a_driver_without_a_cuda_torch_is_noted(monkeypatch):
    monkeypatch.setattr(machine, "nvidia_driver", lambda: True)
    tensor = SimpleNamespace(numpy=lambda: None)
    cuda = SimpleNamespace(is_available=lambda: False)
    module = SimpleNamespace(__version__="2.13+cpu", zeros=lambda size: tensor, cuda=cuda)
    attempts(monkeypatch, torch=Imported(module, ""))
    found = software.torch()
    assert found.state == NOTE and "CUDA build" in found.fix


def test_a_libsndfile_without_mp3_and_opus_is_found(monkeypatch):
    module = SimpleNamespace(
        __libsndfile_version__="1.0.28",
        available_formats=lambda: {"WAV": "", "FLAC": "", "OGG": ""},
        available_subtypes=lambda container: {"VORBIS": ""},
    )
    attempts(monkeypatch, soundfile=Imported(module, ""))
    found = software.audio_formats()
    assert found.state == PROBLEM and "cannot read MP3, Opus" in found.text


def test_a_requirement_that_is_not_met_is_named_as_pip_takes_it(monkeypatch):
    lines = ["numpy>=99", "soxr>=0.3", "fairseq-fixed>=9", 'onnx>=1.18; extra == "export"']
    monkeypatch.setattr(packages.metadata, "requires", lambda name: lines)
    versions = {"numpy": "2.0", "soxr": "0.5", "ve-fairseq": "0.12.3"}
    monkeypatch.setattr(packages, "version_of", versions.get)
    found = software.requirements()
    assert found.state == PROBLEM and found.fix == "pip install 'numpy>=99'"
    monkeypatch.setattr(
        packages.metadata, "metadata", lambda name: SimpleNamespace(get_all=lambda key: ["export"])
    )
    assert packages.extras() == {"export": ["onnx>=1.18"]}


def test_a_second_copy_of_the_package_is_found(monkeypatch, tmp_path):
    (tmp_path / "mgf_fairseq").mkdir()
    (tmp_path / "mgf_fairseq" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    found = software.one_copy()
    assert found.state == PROBLEM and str(tmp_path) in found.text


def test_a_user_package_with_the_name_of_another_is_refused_and_a_good_one_accepted(tmp_path):
    (folder := tmp_path / "json").mkdir()
    assert "no __init__.py" in software.user_package(folder).text
    (folder / "__init__.py").touch()
    found = software.user_package(folder)
    assert found.state == PROBLEM and "rename" in found.fix
    own = folder.rename(tmp_path / "flux_of_mine")
    assert software.user_package(own).state == OK


def test_more_threads_than_processors_and_spinning_ones_are_noted(monkeypatch):
    monkeypatch.setattr(processor, "cores", lambda: 2)
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    assert system.threads().fix == "export OMP_NUM_THREADS=2"
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(system.os, "getloadavg", lambda: (9.0, 9.0, 9.0))
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert "OMP_WAIT_POLICY=PASSIVE" in system.threads().fix
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    assert system.threads().state == OK


def test_a_full_disk_little_shared_memory_and_few_files_are_found(monkeypatch, tmp_path):
    monkeypatch.setattr(system, "SHARED", tmp_path)
    free = SimpleNamespace(free=64 * 1024**2)
    monkeypatch.setattr(system.shutil, "disk_usage", lambda folder: free)
    assert system.disk(tmp_path).state == PROBLEM
    assert "--shm-size" in system.shared_memory().fix
    monkeypatch.setattr(system.resource, "getrlimit", lambda which: (256, 4096))
    assert system.open_files().fix == "ulimit -n 4096"


def test_the_verb_prints_the_fix_and_fails_only_where_something_is_broken(
    monkeypatch, capsys, tmp_path
):
    quiet = "mgf_fairseq.environment.doctor"
    for name in ("python", "requirements", "torch", "fairseq", "fairseq_compiled"):
        monkeypatch.setattr(f"{quiet}.software.{name}", software.audio_formats)
    monkeypatch.setattr(system, "SHARED", tmp_path)
    monkeypatch.setattr(
        system.shutil, "disk_usage", lambda folder: SimpleNamespace(free=9 * 1024**3)
    )
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out.endswith("nothing is broken\n")
    assert main(["doctor", "--user-dir", str(tmp_path / "gone")]) == 1
    printed = capsys.readouterr().out
    assert "problem  user dir" in printed and "fix: give the folder" in printed
    assert printed.endswith("1 problem(s)\n")


def test_a_module_that_fails_on_import_is_reported_and_does_not_raise(monkeypatch, tmp_path: Path):
    (tmp_path / "half_installed.py").write_text("raise ValueError('two\\nlines')")
    monkeypatch.syspath_prepend(tmp_path)
    found = imports.attempt("half_installed")
    assert not found.works and found.error == "ValueError: two lines"
