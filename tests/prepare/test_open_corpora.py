"""Open corpora by name: from a local server, resumed, checked, unpacked safely, after a yes."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from serving import Server, serving

from mgf_fairseq.cli import main
from mgf_fairseq.prepare import open_corpora
from mgf_fairseq.prepare.open_corpora import OPEN_CORPORA, OpenCorpus
from mgf_fairseq.utils.download import Remote


def archive(names: list[str]) -> bytes:
    """A .tar.gz of noise under these names."""
    target, audio = io.BytesIO(), io.BytesIO()
    noise = 0.1 * np.random.default_rng(1).normal(size=16000)
    soundfile.write(audio, noise, 16000, format="flac")
    with tarfile.open(fileobj=target, mode="w:gz") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(audio.getvalue())
            tar.addfile(member, io.BytesIO(audio.getvalue()))
    return target.getvalue()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """It serves one archive."""
    (tmp_path / "www").mkdir()
    with serving(tmp_path / "www") as served:
        put(served, [f"set/ann/{number}.flac" for number in range(3)])
        yield served


def put(server: Server, names: list[str]) -> None:
    (server.root / "tiny.tar.gz").write_bytes(archive(names))


def content(server: Server) -> bytes:
    return (server.root / "tiny.tar.gz").read_bytes()


def asked(server: Server) -> list[str | None]:
    """The Range of each request."""
    return [span for _, span in server.asked]


@pytest.fixture
def words(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command that downloads the tiny corpus; the license is accepted."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    offer(server, monkeypatch)
    command = ["prepare", "corpora", "--download", "speech-commands", "--dest", "data"]
    return [*command, "--accept-license", "--valid-percent", "0.4"]


def offer(server: Server, monkeypatch: pytest.MonkeyPatch, digest: str | None = None) -> None:
    sha256 = digest or hashlib.sha256(content(server)).hexdigest()
    remote = Remote(f"{server.url}/tiny.tar.gz", f"sha256:{sha256}")
    corpus = OpenCorpus("Tiny", "CC BY 4.0, https://license", "https://home", remote, "set")
    monkeypatch.setitem(OPEN_CORPORA, "speech-commands", corpus)


def test_a_corpus_is_downloaded_unpacked_and_prepared_and_the_second_time_found(
    server: Server, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 0
    assert "license: CC BY 4.0" in capsys.readouterr().out
    assert len(Path("data/train.tsv").read_text().splitlines()) == 3
    assert [path.name for path in Path("corpora").iterdir()] == ["speech-commands"]
    assert main(words) == 0 and asked(server) == [None]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_broke_off_is_named_and_the_same_command_resumes(
    server: Server, words: list[str], capsys: pytest.CaptureFixture[str], ranges: bool
) -> None:
    server.break_after, server.ranges = 1000, ranges
    assert main(words) == 2
    message = capsys.readouterr().err
    assert f"broke off after 1000 of {len(content(server))} bytes" in message
    assert "run the same command again" in message and not Path("data").exists()
    server.break_after = None
    assert main(words) == 0 and asked(server) == [None, "bytes=1000-"]
    assert len(list(Path("corpora").rglob("*.flac"))) == 3


def test_a_part_that_is_whole_already_is_only_checked(server: Server, words: list[str]) -> None:
    Path("corpora").mkdir()
    Path("corpora/tiny.tar.gz.part").write_bytes(content(server))
    assert main(words) == 0
    assert asked(server) == [f"bytes={len(content(server))}-"]


def test_another_content_than_listed_is_refused_and_leaves_nothing(
    server: Server,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    offer(server, monkeypatch, digest="0" * 64)
    assert main(words) == 2
    assert "its sha256 is" in capsys.readouterr().err
    assert list(Path("corpora").iterdir()) == [] and not Path("data").exists()


@pytest.mark.parametrize("answer", ["", "no\n", "y\n"])
def test_without_a_yes_nothing_is_asked_of_the_server(
    server: Server,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: str,
) -> None:
    words.remove("--accept-license")
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    assert main(words) == 2
    assert "--accept-license" in capsys.readouterr().err
    assert asked(server) == [] and not Path("corpora").exists()
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))
    assert main(words) == 0


def test_an_archive_that_writes_elsewhere_is_refused(
    server: Server,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    put(server, ["set/a.flac", "../../evil.flac"])
    offer(server, monkeypatch)
    assert main(words) == 2
    assert "cannot be unpacked" in capsys.readouterr().err
    assert not list(Path().rglob("evil.flac")) and not Path("corpora/speech-commands").exists()


def test_every_corpus_has_a_license_a_home_and_a_digest_of_the_right_length() -> None:
    lengths = {"sha256": 64, "md5": 32}
    for name, corpus in OPEN_CORPORA.items():
        kind, _, digest = corpus.archive.digest.partition(":")
        assert re.fullmatch(rf"[0-9a-f]{{{lengths[kind]}}}", digest), name
        assert "https://" in corpus.license and corpus.home.startswith("https://")
        assert open_corpora.place(name, Path("x")).is_relative_to(Path("x") / name)
