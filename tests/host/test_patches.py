"""What the host does without each patch, and not with it: one fault per entry of the table.

If the unpatched host no longer has a fault, its test fails and the entry can be removed.
"""

from __future__ import annotations

import math
import sys

import fairseq_cli.train  # noqa: F401 (its patch waits for it)
import host_faults_checkpoints as host_faults_checkpoints  # registers
import host_faults_trainers as host_faults_trainers  # registers
import pytest
from fairseq import checkpoint_utils
from fairseq.trainer import Trainer
from host_faults import FAULTS, steps
from torch.utils.data import DataLoader

from mgf_fairseq.host import patches
from mgf_fairseq.host.patches import PATCHES, apply_patches
from mgf_fairseq.host.patching import Patch, unpatched


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.name)
def test_the_host_has_the_fault_without_the_patch_and_not_with_it(patch: Patch, tmp_path):
    shows = FAULTS[patch.name]
    for name in ("patched", "unpatched"):
        (tmp_path / name).mkdir()
    with pytest.MonkeyPatch.context() as monkeypatch, unpatched(patch):
        assert shows(tmp_path / "unpatched", monkeypatch), "the entry can be removed"
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert not shows(tmp_path / "patched", monkeypatch)


def test_every_fault_has_an_entry_and_every_entry_a_reason_and_an_end():
    assert FAULTS.keys() == {patch.name for patch in PATCHES}
    assert len({patch.name for patch in PATCHES}) == len(PATCHES)
    assert all(patch.reason and patch.until for patch in PATCHES)


def test_a_second_application_changes_nothing():
    before = Trainer.train_step, checkpoint_utils.save_checkpoint, DataLoader.__init__
    apply_patches()
    assert before == (Trainer.train_step, checkpoint_utils.save_checkpoint, DataLoader.__init__)


def test_a_patch_waits_for_its_module_to_be_imported(monkeypatch):
    name = "fairseq_cli.train:validate_and_save"
    (patch,) = (patch for patch in PATCHES if patch.name == name)
    module = sys.modules["fairseq_cli.train"]
    with unpatched(patch):
        own = module.validate_and_save
        monkeypatch.delitem(sys.modules, "fairseq_cli.train")
        apply_patches()
        assert module.validate_and_save is own
        monkeypatch.undo()
        patches.patching.apply_waiting()
        assert module.validate_and_save.__wrapped__ is own


def test_amp_skips_an_overflow_and_lowers_its_scale():
    first, second = steps([math.inf, 1.0], 128.0)
    assert first == 1.0 and second < 1.0
