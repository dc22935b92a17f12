"""Open corpora by name: from a local server, resumed, checked, unpacked safely, after a yes."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mgf_fairseq.cli import main
from mgf_fairseq.prepare import open_corpora
from mgf_fairseq.prepare.open_corpora import OPEN_CORPORA, OpenCorpus
from mgf_fairseq.utils.download import Remote


class Server(ThreadingHTTPServer):
    """Serves one archive; may break off after some bytes, and may not know ranges."""

    content = b""
    break_after: int | None = None
    ranges = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []  # the Range of each request


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        start = int(re.findall(r"\d+", asked)[0]) if asked and self.server.ranges else 0
        if start and start >= len(self.server.content):
            self.send_error(416)
            return
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.break_after])

    def log_message(self, *words: object) -> None:
        pass


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
def server() -> Iterator[Server]:
    served = Server()
    served.content = archive([f"set/ann/{number}.flac" for number in range(3)])
    thread = threading.Thread(target=served.serve_forever, daemon=True)
    thread.start()
    yield served
    served.shutdown()
    thread.join()
    served.server_close()


@pytest.fixture
def words(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command that downloads the tiny corpus; the license is accepted."""
    monkeypatch.chdir(tmp_path)
    offer(server, monkeypatch)
    command = ["prepare", "corpora", "--download", "speech-commands", "--dest", "data"]
    return [*command, "--accept-license", "--valid-percent", "0.4"]


def offer(server: Server, monkeypatch: pytest.MonkeyPatch, digest: str | None = None) -> None:
    sha256 = digest or hashlib.sha256(server.content).hexdigest()
    remote = Remote(f"http://127.0.0.1:{server.server_address[1]}/tiny.tar.gz", f"sha256:{sha256}")
    corpus = OpenCorpus("Tiny", "CC BY 4.0, https://license", "https://home", remote, "set")
    monkeypatch.setitem(OPEN_CORPORA, "speech-commands", corpus)


def test_a_corpus_is_downloaded_unpacked_and_prepared_and_the_second_time_found(
    server: Server, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 0
    assert "license: CC BY 4.0" in capsys.readouterr().out
    assert len(Path("data/train.tsv").read_text().splitlines()) == 3
    assert [path.name for path in Path("corpora").iterdir()] == ["speech-commands"]
    assert main(words) == 0 and server.asked == [None]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_broke_off_is_named_and_the_same_command_resumes(
    server: Server, words: list[str], capsys: pytest.CaptureFixture[str], ranges: bool
) -> None:
    server.break_after, server.ranges = 1000, ranges
    assert main(words) == 2
    message = capsys.readouterr().err
    assert f"broke off after 1000 of {len(server.content)} bytes" in message
    assert "run the same command again" in message and not Path("data").exists()
    server.break_after = None
    assert main(words) == 0 and server.asked == [None, "bytes=1000-"]
    assert len(list(Path("corpora").rglob("*.flac"))) == 3


def test_a_part_that_is_whole_already_is_only_checked(server: Server, words: list[str]) -> None:
    Path("corpora").mkdir()
    Path("corpora/tiny.tar.gz.part").write_bytes(server.content)
    assert main(words) == 0
    assert server.asked == [f"bytes={len(server.content)}-"]


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
    assert server.asked == [] and not Path("corpora").exists()
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))
    assert main(words) == 0


def test_an_archive_that_writes_elsewhere_is_refused(
    server: Server,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.content = archive(["set/a.flac", "../../evil.flac"])
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
