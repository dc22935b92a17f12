"""What importing the package loads and changes: nothing, unless fairseq imports it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny_checkpoints

import mgf_fairseq

# Every function, class and method of fairseq, the names in its registries, and what torch.load
# lets through. Objects are compared by identity within one process.
PARTS = """
import json, sys
import mgf_fairseq
import fairseq.tasks, fairseq.models, fairseq.criterions, fairseq.trainer, fairseq_cli.train, torch

def parts():
    found = {"safe": sorted(map(str, torch.serialization.get_safe_globals()))}
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] not in ("fairseq", "fairseq_cli"):
            continue
        for key, value in list(vars(module).items()):
            if isinstance(value, dict) and "REGISTR" in key:
                found[name, key] = sorted(map(str, value))
            elif callable(value):
                found[name, key] = id(value)
            if isinstance(value, type) and value.__module__.startswith("fairseq"):
                found |= {(name, key, a): id(v) for a, v in vars(value).items() if callable(v)}
    return found

def changes(before, after):
    return [str(key) for key in before if before[key] != after[key]]
"""


def run(code: str, folder: Path) -> Any:
    """Run a script in a process of its own; return what it prints last, as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("module", ["mgf_fairseq", "mgf_fairseq.monitoring.health"])
def test_importing_it_loads_neither_torch_nor_fairseq(module, tmp_path):
    code = f"import json, sys, {module}\nprint(json.dumps(sorted(sys.modules)))"
    loaded = run(code, tmp_path)
    assert module in loaded
    heavy = {"torch", "fairseq", "fairseq_cli", "hydra", "omegaconf"}
    assert not {name.split(".")[0] for name in loaded} & heavy
    assert "mgf_fairseq.plugin" not in loaded


def test_load_encoder_leaves_fairseq_as_it_was_and_the_plugin_does_not(tmp_path):
    checkpoint = tiny_checkpoints.mgf_checkpoint(tmp_path / "checkpoint.pt")
    code = f"""{PARTS}
before = parts()
features = mgf_fairseq.load_encoder({str(checkpoint)!r})(torch.randn(4000))
assert len(features.hidden_states) > 1
used = parts()
import mgf_fairseq.plugin
print(json.dumps([changes(before, used), changes(used, parts())]))
"""
    by_encoder, by_plugin = run(code, tmp_path)
    assert by_encoder == []
    # The comparison sees what the plugin registers and replaces.
    assert any("TASK_REGISTRY" in key for key in by_plugin)
    assert any("call_main" in key for key in by_plugin) and "safe" in by_plugin


@pytest.mark.parametrize(
    "by",
    [
        "import fairseq.utils; fairseq.utils.import_user_module(Namespace(user_dir={package!r}))",
        # Processes that load this package before fairseq, as those of spawn and submitit may.
        "from mgf_fairseq.host.launcher import Launch; Launch().on_job_start({{}})",
        "from mgf_fairseq.host import launcher\n"
        "launcher.distributed_utils.distributed_main = lambda *_: None\n"
        "settings = Namespace(heartbeat_timeout=-1)\n"
        "launcher.run_rank(0, None, Namespace(distributed_training=settings), {{}})",
    ],
    ids=["user_dir", "hydra", "rank"],
)
def test_every_way_into_a_training_registers(by, tmp_path):
    code = "import json\nfrom argparse import Namespace\n"
    code += by.format(package=str(Path(mgf_fairseq.__file__).parent))
    code += """
from fairseq.tasks import TASK_REGISTRY
from fairseq.distributed import utils
print(json.dumps([sorted(TASK_REGISTRY), utils.call_main.__module__]))
"""
    tasks, launch = run(code, tmp_path)
    assert {"mgf_pretraining", "mgf_wav2vec2", "mgf_hubert", "mgf_apc"} <= set(tasks)
    assert launch == "mgf_fairseq.host.launcher"
