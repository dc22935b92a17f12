"""The verbs about the command itself: its version, its environment, its completion."""

import json
import shutil
import subprocess

import pytest

from mgf_fairseq import __version__
from mgf_fairseq.cli import VERBS, main
from mgf_fairseq.evaluation import provenance
from mgf_fairseq.utils.package import package_dir


def version(capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    return capsys.readouterr().out.strip()


def test_the_version_has_the_commit_in_a_checkout_and_is_alone_elsewhere(
    monkeypatch, tmp_path, capsys
):
    checkout = package_dir().parent
    if (checkout / ".git").exists() and shutil.which("git"):
        command = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
        commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        assert version(capsys).startswith(f"mgf_fairseq {__version__} (commit {commit}")
        monkeypatch.setenv("PATH", str(tmp_path))  # no git
        assert version(capsys) == f"mgf_fairseq {__version__}"
    monkeypatch.setattr(provenance, "package_dir", lambda: tmp_path / "mgf_fairseq")
    assert version(capsys) == f"mgf_fairseq {__version__}"


def test_info_names_versions_machine_and_what_extras_lack(capsys):
    assert main(["info", "--json"]) == 0
    shown = capsys.readouterr()
    facts = json.loads(shown.out)
    assert facts["versions"]["torch"] and facts["fairseq"] and facts["cores"] >= 1
    assert facts["fairseq_build"]["fairseq.data.data_utils_fast"] == ""
    for word in ("python", "fairseq", "processor", "bf16", "cuda"):
        assert word in shown.err


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_completion_knows_every_verb_and_is_valid(shell, capsys, tmp_path):
    pytest.importorskip("shtab", reason="shtab is not installed (pip install shtab)")
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(verb in script for verb in VERBS) and "--checkpoint" in script
    if shutil.which(shell):
        (path := tmp_path / "script").write_text(script)
        subprocess.run([shell, "-n", str(path)], check=True)


def test_bash_completes_the_beginning_of_a_verb_and_of_an_option(capsys, tmp_path):
    pytest.importorskip("shtab", reason="shtab is not installed (pip install shtab)")
    assert main(["completion", "bash"]) == 0
    (script := tmp_path / "script").write_text(capsys.readouterr().out)

    def completed(*words: str) -> set[str]:
        line = " ".join(f"'{word}'" for word in words)
        program = (
            f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; "
            'name=$(complete -p mgf | sed "s/.*-F \\([^ ]*\\).*/\\1/"); $name; '
            'printf "%s\\n" "${COMPREPLY[@]}"'
        )
        done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, timeout=30)
        return {word.strip() for word in done.stdout.split()}

    assert {"transcribe", "training"} & completed("mgf", "transc") == {"transcribe"}
    assert "--layers" in completed("mgf", "extract", "--lay")
