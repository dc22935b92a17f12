"""The grids of examples/evaluate: every row composes, finished rows are skipped, failures stop."""

import argparse
import importlib.util
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny
from waiting import wait_until

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "evaluate"
spec = importlib.util.spec_from_file_location("grid", FOLDER / "grid.py")
grid = importlib.util.module_from_spec(spec)
sys.modules["grid"] = grid
spec.loader.exec_module(grid)

GRIDS = sorted(FOLDER.glob("*.yaml"))
SMALL = """
config: mgf_mini
overrides: [run=cpu, optimization.max_update=3]
tasks: [phone, emotion, asr]
rows:
  mgf: {seeds: [1, 2]}
  wav2vec2: {overrides: [objectives=wav2vec2], tasks: [phone]}
baselines: {fbank: [phone, asr], mfcc: [phone], "random:mgf": null}
"""


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_every_row_of_the_grids_composes_with_its_own_seed_and_folder(path):
    read = grid.read_grid(path)
    folder = ROOT / "examples" / "pretrain" / "config"
    for row in read.rows:
        for seed in row.seeds:
            words = ["task.data=none", "common.user_dir=none", f"common.seed={seed}"]
            words += [*read.overrides, *row.overrides]
            config = tiny.compose_recipe(folder, read.config, words)
            assert config.common.seed == seed
            assert config.optimization.max_update == read.max_update
            assert config.dataset.max_tokens == 192_000
            if config.criterion._name == "mgf":  # shares and weights name what is built
                task = tiny.tiny_task(FOLDER)
                task.build_model(config.model)
                task.build_criterion(config.criterion)


def runner(tmp_path, monkeypatch, text=SMALL, jobs=1, fails=()):
    """A grid whose commands are noted rather than run; `fails` names what exits with an error."""
    (tmp_path / "grid.yaml").write_text(text)
    commands = []

    def train(command, run, updates, metrics, name, cwd, variables, start):
        commands.append(("train", name, tuple(command), variables))
        (run / "checkpoint_last.pt").touch()

    class Evaluations:
        def start(self, words, **options):
            name = words[words.index("--name") + 1]
            commands.append(("evaluate", name, tuple(words), options["env"]))
            return SimpleNamespace(wait=lambda: int(name in fails))

    monkeypatch.setattr(grid, "run_training", train)
    args = argparse.Namespace(
        data=tmp_path / "data",
        emotion_data=tmp_path / "emotion",
        dest=tmp_path / "out",
        jobs=jobs,
        devices=None,
        override=["common.log_interval=7"],
        evaluate_options="--seeds 1,2",
    )
    return grid.Runner(grid.read_grid(tmp_path / "grid.yaml"), args, Evaluations()), commands


def option(words, name):
    return words[words.index(name) + 1]


def test_each_row_and_seed_is_trained_and_evaluated_and_then_the_baselines(tmp_path, monkeypatch):
    run, commands = runner(tmp_path, monkeypatch)
    run.run()
    done = [(kind, name) for kind, name, _, _ in commands]
    assert done == [
        *[(kind, name) for name in ("mgf-seed1", "mgf-seed2") for kind in ("train", "evaluate")],
        ("train", "wav2vec2-seed1"),
        ("evaluate", "wav2vec2-seed1"),
        ("evaluate", "fbank"),
        ("evaluate", "mfcc"),
        ("evaluate", "random"),
    ]
    by_name = {(kind, name): words for kind, name, words, _ in commands}
    trained = by_name["train", "wav2vec2-seed1"]
    assert {"objectives=wav2vec2", "common.seed=1", "common.log_interval=7"} <= set(trained)
    evaluated = by_name["evaluate", "mgf-seed2"]
    assert option(evaluated, "--group") == "mgf" and option(evaluated, "--seeds") == "1,2"
    assert option(evaluated, "--tasks") == "phone,emotion,asr" and "--emotion-data" in evaluated
    assert "--emotion-data" not in by_name["evaluate", "wav2vec2-seed1"]
    checkpoint = tmp_path / "out" / "pretrain" / "mgf-seed1" / "checkpoint_last.pt"
    assert option(by_name["evaluate", "random"], "--checkpoint") == f"random:{checkpoint}"
    # Acoustic features have no Transformer of their own to fine-tune.
    assert option(by_name["evaluate", "fbank"], "--asr-shape") == str(checkpoint)
    assert "--asr-shape" not in by_name["evaluate", "mfcc"] + by_name["evaluate", "random"]


def test_a_finished_training_is_not_run_again_and_one_of_another_command_is_refused(
    tmp_path, monkeypatch
):
    runner(tmp_path, monkeypatch)[0].run()
    again, commands = runner(tmp_path, monkeypatch)
    again.run()
    assert {kind for kind, *_ in commands} == {"evaluate"}
    other, _ = runner(tmp_path, monkeypatch, SMALL.replace("max_update=3", "max_update=4"))
    with pytest.raises(ValueError, match="mgf-seed1 was begun by another command"):
        other.run()
    # Nor is one continued that another command began and did not end.
    (tmp_path / "out" / "pretrain" / "mgf-seed1" / "done").unlink()
    with pytest.raises(ValueError, match="mgf-seed1 was begun by another command"):
        other.run()


def test_a_failure_names_the_log_and_nothing_new_begins(tmp_path, monkeypatch):
    run, commands = runner(tmp_path, monkeypatch, fails=["mgf-seed1"])
    with pytest.raises(ValueError, match=r"evaluation of mgf-seed1 failed; the end of .*log"):
        run.run()
    assert [name for _, name, _, _ in commands] == ["mgf-seed1", "mgf-seed1"]


def test_devices_are_one_run_each(tmp_path, monkeypatch):
    run, commands = runner(tmp_path, monkeypatch)
    run.args.devices = ["0", "3"]
    run = grid.Runner(run.grid, run.args, run.children)
    run.run()
    assert run.num_slots == 2
    assert {variables["CUDA_VISIBLE_DEVICES"] for *_, variables in commands} == {"0", "3"}


TRAINING = """\
import os, pathlib, signal, sys, time
run = pathlib.Path(sys.argv[1])
if (run / "stopped").exists():
    (run / "checkpoint_last.pt").touch()
    sys.exit()
def stop(*_):
    (run / "stopped").touch()
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
print("begun", flush=True)
(run / "begun").touch()
time.sleep(600)
"""
GRID = """\
import runpy, sys
from mgf_fairseq.host import training_process as training_run
def command(recipe, overrides):
    run = next(o.split("=", 1)[1] for o in overrides if o.startswith("checkpoint.save_dir="))
    return [sys.executable, {training!r}, run]
training_run.training_command = command
sys.argv = {words!r}
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow
def test_sigterm_ends_all_trainings_and_the_same_command_resumes(tmp_path):
    """Trainings of a grid are small programs here that end, when told, like a saving one."""
    (tmp_path / "training.py").write_text(TRAINING)
    rows = "rows: {a: {}, b: {}, c: {}}\nbaselines: {}\n"
    (tmp_path / "grid.yaml").write_text(SMALL.partition("rows:")[0] + rows)
    (tmp_path / "mgf").write_text(f'#!/bin/sh\necho "$*" >> {shlex.quote(str(tmp_path))}/told\n')
    (tmp_path / "mgf").chmod(0o755)
    words = [str(FOLDER / "grid.py"), str(tmp_path / "grid.yaml"), "--data", str(tmp_path)]
    words += ["--dest", str(tmp_path / "out"), "--jobs", "2"]
    code = GRID.format(training=str(tmp_path / "training.py"), words=words)
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    runs = [tmp_path / "out" / "pretrain" / f"{name}-seed1" for name in "abc"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as first:
        wait_until(lambda: all((run / "begun").exists() for run in runs[:2]))
        first.send_signal(signal.SIGTERM)
        _, said = first.communicate(timeout=60)
    assert first.returncode == 143 and "the same command resumes" in said
    # It waited for both to end as they end when told, and has begun nothing else.
    assert [(run / "stopped").exists() for run in runs] == [True, True, False]
    assert not (tmp_path / "told").exists()
    (runs[2]).mkdir()
    (runs[2] / "stopped").touch()
    assert subprocess.run(command, env=environment, stderr=subprocess.DEVNULL).returncode == 0
    told = (tmp_path / "told").read_text().splitlines()
    assert [line.split()[0] for line in told] == ["evaluate"] * 3 + ["report"]


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("config:", "confg:", "unknown keys"),
        ("seeds: [1, 2]", "seed: 1", "rows.mgf has unknown keys"),
        ("random:mgf", "random:mfg", "random:mfg names no row; there are mgf, wav2vec2"),
        ("optimization.max_update=3", "task.views=2", "optimization.max_update=N"),
    ],
)
def test_a_mistake_in_a_grid_is_named(tmp_path, old, new, named):
    path = tmp_path / "grid.yaml"
    path.write_text(SMALL.replace(old, new))
    with pytest.raises(ValueError, match=named):
        grid.read_grid(path)
