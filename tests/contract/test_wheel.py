"""A wheel in an environment without a checkout pre-trains, fine-tunes and evaluates."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "mgf_fairseq")
# What pip would write for the package's own and fairseq's entry point.
PROGRAMS = {
    "mgf": "mgf_fairseq.cli:main",
    "fairseq-hydra-train": "fairseq_cli.hydra_train:cli_main",
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the sources."""
    if missing := [name for name in ("pip", "setuptools") if find_spec(name) is None]:
        pytest.skip(f"a wheel is built with {' and '.join(missing)}")
    sources = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, sources / name)
    command = ["pip", "wheel", "--no-deps", "--no-index", "--no-build-isolation", "-w", "dist", "."]
    subprocess.run([sys.executable, "-m", *command], cwd=sources, check=True, capture_output=True)
    (found,) = (sources / "dist").glob("*.whl")
    return found


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables of an environment with the wheel; other packages come from this one."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = folder / "lib" / version / "site-packages"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    # Of a folder that is added this way no .pth is read: an editable installation is not seen.
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    for program, target in PROGRAMS.items():
        module, function = target.split(":")
        script = folder / "bin" / program
        script.write_text(
            f"#!{folder}/bin/python\nimport sys\nfrom {module} import {function}\n"
            f"sys.exit({function}())\n"
        )
        script.chmod(0o755)
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    path = f"{folder / 'bin'}{os.pathsep}{variables['PATH']}"
    return {**variables, "PATH": path, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


@pytest.fixture(scope="module")
def data(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus with letters, its last three training utterances as test set."""
    folder = tmp_path_factory.mktemp("labels")
    root, *train = (corpus / "train.tsv").read_text().splitlines()
    _, *valid = (corpus / "valid.tsv").read_text().splitlines()
    for split, rows in (("train", train[:-3]), ("valid", valid), ("test", train[-3:])):
        (folder / f"{split}.tsv").write_text("\n".join([root, *rows]) + "\n")
        (folder / f"{split}.ltr").write_text("A B | C D |\n" * len(rows))
        (folder / f"{split}.wrd").write_text("AB CD\n" * len(rows))
    (folder / "dict.ltr.txt").write_text("".join(f"{x} 10\n" for x in "ABCD|"))
    return folder


def test_every_configuration_and_the_type_marker_are_in_the_wheel(wheel):
    files = set(zipfile.ZipFile(wheel).namelist())
    package = ROOT / "mgf_fairseq"
    expected = {path.relative_to(ROOT).as_posix() for path in package.rglob("*.yaml")}
    assert len(expected) > 40
    assert {*expected, "mgf_fairseq/py.typed"} <= files


def test_it_pretrains_finetunes_and_evaluates_from_any_working_directory(
    environment, data, tmp_path
):
    def run(command: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
        return done.stdout

    folder = Path(run("mgf configs").strip())
    assert "site-packages" in folder.parts and not folder.is_relative_to(ROOT)
    small = "optimization.max_update=2 dataset.num_workers=0 common.user_dir=$(mgf user-dir)"
    run(
        "fairseq-hydra-train --config-dir $(mgf configs) --config-name mgf_debug "
        f"task.data={data} checkpoint.save_dir=$PWD/pretrained dataset.max_tokens=50000 {small}"
    )
    run(
        "fairseq-hydra-train --config-dir $(mgf configs finetune) --config-name ctc_quick "
        f"task.data={data} model.w2v_path=$PWD/pretrained/checkpoint_last.pt "
        f"checkpoint.save_dir=$PWD/finetuned common.cpu=true {small}"
    )
    assert "WER" in run(f"mgf score --checkpoint finetuned --manifest {data}/valid.tsv")
    run(
        f"mgf evaluate --checkpoint pretrained --data {data} --tasks asr --asr-updates 2 "
        "--dest results --device cpu"
    )
    assert list((tmp_path / "results").rglob("asr.json"))


def test_a_configuration_of_ones_own_finds_those_of_the_package(environment, data, tmp_path):
    own = shutil.copytree(ROOT / "examples" / "pretrain" / "own", tmp_path / "own")
    shown = subprocess.run(
        [
            *("fairseq-hydra-train", "--config-dir", str(own), "--config-name", "mgf_mine"),
            *(f"task.data={data}", "common.user_dir=x", "--cfg", "job"),
        ],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert shown.returncode == 0, shown.stderr[-3000:]
    config = yaml.safe_load(shown.stdout)
    changes = yaml.safe_load((own / "changes" / "mine.yaml").read_text())
    for group, settings in changes.items():
        assert settings.items() <= config[group].items()
    assert config["model"]["encoder_embed_dim"] == 192 and config["common"]["cpu"] is True
