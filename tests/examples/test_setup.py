"""Set-up: which Python it takes, what the matrix reports, that Dockerfiles name real files."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = sorted((ROOT / "examples" / "docker").glob("*.Dockerfile"))


def python_chosen(folder: Path, torch: dict[str, bool]) -> str:
    """What setup_env.sh takes; `torch` has the Pythons, and whether pip holds torch for each."""
    for name, at_hand in torch.items():
        script = f"#!/bin/sh\ncase $1 in -m) exit {int(not at_hand)} ;; esac\n"
        (program := folder / name).write_text(script)
        program.chmod(0o755)
    for name in ("dirname", "sed"):
        (folder / name).symlink_to(f"/usr/bin/{name}")
    # The last line of the script calls main.
    command = f"eval \"$(sed '$ d' {ROOT}/examples/setup_env.sh)\"; find_python"
    environment = {"PATH": str(folder), "HOME": str(folder)}
    done = subprocess.run(
        ["/bin/bash", "-c", command], env=environment, cwd=ROOT, capture_output=True, text=True
    )
    return done.stdout.strip() or done.stderr.strip()


def test_python_3_12_comes_first_but_a_torch_at_hand_decides(tmp_path):
    cases = {
        "python3.12": {"python3.11": False, "python3.12": False, "python3.13": False},
        "python3.11": {"python3.11": True, "python3.12": False},
        "python3.13": {"python3.13": False},
    }
    for number, (expected, there) in enumerate(cases.items()):
        (folder := tmp_path / str(number)).mkdir()
        assert python_chosen(folder, there) == expected
    (folder := tmp_path / "none").mkdir()
    assert "no Python 3.11 to 3.13 found" in python_chosen(folder, {})


def test_the_matrix_marks_what_it_cannot_run_with_the_reason(tmp_path):
    environment = {**os.environ, "MGF_MATRIX_DEST": str(tmp_path)}
    done = subprocess.run(
        ["bash", "tests/matrix.sh", "3.99:2.13.0"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    header, line, row = (tmp_path / "table.md").read_text().splitlines()
    assert header == "| Python | torch | set-up | quickstart | tests |"
    assert line == "|---|---|---|---|---|"
    assert row == "| 3.99 | 2.13.0 |" + " not run: no python3.99 |" * 3


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_a_dockerfile_names_files_that_exist_and_a_python_that_is_supported(path):
    lines = path.read_text().splitlines()
    text = "\n".join(line for line in lines if not line.startswith("#"))
    words = {line.split()[0] for line in text.splitlines() if line}
    assert words <= {"FROM", "ARG", "ENV", "RUN", "COPY", "WORKDIR", "CMD"}
    assert re.search(r"^FROM python:3\.1[123]-slim$", text, re.M)
    scripts = re.findall(r"bash (\S+\.sh)", text)
    assert scripts and all((ROOT / script).is_file() for script in scripts)
    assert f"docker build -f {path.relative_to(ROOT)}" in "\n".join(lines)
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert not {"mgf_fairseq", "examples", "setup.py", "constraints.txt"} & set(ignored)
    venv = re.search(r"MGF_VENV=(\S+)", text)
    assert venv and f"PATH={venv[1]}/bin:$PATH" in text
    known = set(re.findall(r"\$\{?(MGF_[A-Z_]+)", (ROOT / "examples/setup_env.sh").read_text()))
    assert set(re.findall(r"\b(MGF_[A-Z]+)=", text)) <= known


def test_there_is_one_dockerfile_for_the_cpu_and_one_for_cuda():
    assert [path.name for path in DOCKERFILES] == ["cpu.Dockerfile", "cuda.Dockerfile"]
