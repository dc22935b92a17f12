"""Where numbers come from: the command as typed, and the commit of the code that made them."""

import os
import re
import sys
import time

import pytest

from mgf_fairseq.evaluation import provenance as module
from mgf_fairseq.evaluation.provenance import command_line, provenance


def test_the_command_is_as_typed_without_the_machine_s_path(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/some/where/bin/mgf", "evaluate", "--name", "two words"])
    assert command_line() == "mgf evaluate --name 'two words'"


def test_it_names_usable_cores_torch_a_date_in_utc_and_the_seconds(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3}, raising=False)
    found = provenance(time.monotonic() - 3)
    assert found.hardware.startswith("1 x ") and "torch" in found.hardware
    assert found.date.endswith("+00:00")
    assert 3 <= found.seconds < 5


def test_outside_a_checkout_the_version_is_given_for_the_commit(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "package_dir", lambda: tmp_path / "site-packages" / "mgf_fairseq")
    assert re.fullmatch(r"version \d+\.\d+\.\d+", module.commit())


def test_the_commit_is_that_of_the_code_and_not_of_the_working_directory(monkeypatch, tmp_path):
    here = module.commit()
    if here.startswith("version"):
        pytest.skip("not run from a checkout")
    monkeypatch.chdir(tmp_path)
    assert module.commit() == here
