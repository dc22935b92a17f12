"""Releases from a local server and in folders: listed, checked, resumed, after a yes."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from serving import Server, serving

from mgf_fairseq.cli import main
from mgf_fairseq.export.scores import Score
from mgf_fairseq.releases.card import (
    CARD,
    Release,
    ReleaseError,
    card_text,
    describe_file,
    parse_card,
    sums_text,
)
from mgf_fairseq.releases.make import write_index

WEIGHTS = b"weights" * 1000


def release(folder: Path, name: str = "mini") -> Path:
    """A release of two files below `folder`, and the index of the folder."""
    (folder / name / "huggingface").mkdir(parents=True)
    (folder / name / "checkpoint_last.pt").write_bytes(WEIGHTS)
    (folder / name / "huggingface" / "config.json").write_text("{}")
    paths = sorted(path for path in (folder / name).rglob("*") if path.is_file())
    card = Release(
        name=name,
        title="A small encoder",
        license="CC BY 4.0",
        data=["Mini LibriSpeech, CC BY 4.0"],
        data_hours=3.9,
        heard_hours=8.0,
        updates=2400,
        parameters=1000,
        scores=[Score("phone, layer 3", "accuracy 49.8 %", "mgf evaluate")],
        files=[describe_file(path, folder / name) for path in paths],
    )
    (folder / name / CARD).write_text(card_text(card))
    (folder / name / "SHA256SUMS").write_text(sums_text(card))
    write_index(folder)
    return folder / name


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """It serves a folder with two releases."""
    release(tmp_path / "www")
    release(tmp_path / "www", "small")
    with serving(tmp_path / "www") as served:
        yield served


@pytest.fixture
def site(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of the server; the current folder is an empty one."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return server.url


def test_a_list_reads_the_index_and_the_cards_and_downloads_nothing(
    server: Server,
    site: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["models", site]) == 0
    shown = capsys.readouterr().out
    assert "mini" in shown and "small" in shown
    assert "CC BY 4.0" in shown and "accuracy 49.8 %" in shown and "2400" in shown
    assert [path for path, _ in server.asked] == [
        *("/models.json", "/mini/release.json", "/small/release.json"),
    ]
    assert main(["models", site, "mini"]) == 0
    assert hashlib.sha256(WEIGHTS).hexdigest() in capsys.readouterr().out
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_broke_off_resumes_and_ends_as_what_was_served(
    server: Server,
    site: str,
    capsys: pytest.CaptureFixture[str],
    ranges: bool,
) -> None:
    words = ["models", site, "mini", "--dest", "models", "--accept-license"]
    server.break_after, server.ranges = 1000, ranges
    assert main(words) == 2
    message = capsys.readouterr().err
    assert "broke off after 1000 of 7000 bytes; run the same command again" in message
    assert [path.name for path in Path("models").iterdir()] == ["mini.partial"]
    server.break_after = None
    assert main(words) == 0
    assert ("/mini/checkpoint_last.pt", "bytes=1000-") in server.asked
    assert [path.name for path in Path("models").iterdir()] == ["mini"]
    for path in (server.root / "mini").rglob("*"):
        if path.is_file():
            mine = Path("models/mini") / path.relative_to(server.root / "mini")
            assert mine.read_bytes() == path.read_bytes()
    capsys.readouterr()
    asked = len(server.asked)
    assert main(words) == 0  # is there: the site is asked for its cards only
    assert len(server.asked) == asked + 3
    assert "all 2 checksums are right" in capsys.readouterr().out
    assert main(["models", "models", "mini"]) == 0
    assert "any verb that takes a checkpoint" in capsys.readouterr().out


def test_without_a_yes_no_file_is_asked_for_and_the_license_is_shown_before(
    server: Server,
    site: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["models", site, "mini", "--dest", "models"]
    monkeypatch.setattr("sys.stdin", io.StringIO("no\n"))
    assert main(words) == 2
    shown = capsys.readouterr()
    assert "license: CC BY 4.0\nType yes" in shown.out and "--accept-license" in shown.err
    assert not Path("models").exists()
    assert all(path.endswith(".json") for path, _ in server.asked)
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))
    assert main(words) == 0


def spoil_weights(www: Path) -> None:
    (www / "mini/checkpoint_last.pt").write_bytes(WEIGHTS[:-1] + b"x")


def drop_weights(www: Path) -> None:
    (www / "mini/checkpoint_last.pt").unlink()


def spoil_card(www: Path) -> None:
    card = www / "mini" / CARD
    card.write_text(card.read_text().replace("2400", "2401"))


def drop_card(www: Path) -> None:
    (www / "mini" / CARD).unlink()


def drop_index(www: Path) -> None:
    (www / "models.json").unlink()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (spoil_weights, "its sha256 is"),
        (drop_weights, "404"),
        (spoil_card, "mini/release.json is broken: its sha256 is"),
        (drop_card, "mini/release.json is missing, though models.json lists it"),
        (drop_index, "is not a release: neither models.json nor release.json is there"),
    ],
)
def test_what_is_broken_or_missing_at_a_url_is_one_line_and_leaves_no_model(
    server: Server,
    site: str,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[Path], object],
    words: str,
) -> None:
    change(server.root)
    assert main(["models", site, "mini", "--dest", "models", "--accept-license"]) == 2
    message = capsys.readouterr().err
    assert words in message and message.count("\n") == 1
    assert not Path("models/mini").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (spoil_weights, "checkpoint_last.pt is broken: its sha256 is"),
        (drop_weights, "checkpoint_last.pt is missing; download or make the model again"),
        (lambda www: (www / "mini").rename(www / "other"), "has the card of 'mini'"),
        (lambda www: (www / "mini" / CARD).write_text("{}"), "is of format None"),
    ],
)
def test_what_is_broken_or_missing_in_a_folder_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Callable[[Path], object], words: str
) -> None:
    release(tmp_path)
    change(tmp_path)
    assert main(["models", str(tmp_path), "mini"]) == 2
    message = capsys.readouterr().err
    assert words in message and message.count("\n") == 1


def test_a_source_or_name_that_is_none_is_named_with_the_nearest(
    site: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def message(*words: str) -> str:
        assert main(["models", *words]) == 2
        return capsys.readouterr().err

    assert "no release 'minni' (did you mean 'mini'?); there are: mini, small" in message(
        site, "minni"
    )
    assert "holds several releases: name one of mini, small" in message(site, "--dest", "models")
    assert "models: no such folder" in message()
    assert "is not a release (no release.json" in message(str(tmp_path / "here"))
    www = str(tmp_path / "www")
    assert "use it without --dest" in message(www, "mini", "--dest", "models")
    assert "check the URL" in message("http://127.0.0.1:9/models")


def test_a_download_that_is_not_complete_is_not_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release(tmp_path)
    (release(tmp_path, "small")).rename(tmp_path / "small.partial")
    assert main(["models", str(tmp_path), "--json"]) == 0
    assert [found["name"] for found in json.loads(capsys.readouterr().out)] == ["mini"]


def test_a_single_release_needs_no_name(site: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", f"{site}/mini", "--dest", ".", "--accept-license", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["place"] == "mini"


@pytest.mark.parametrize("path", ["../evil", "/etc/evil", "a/../../evil", "C:evil", "a\\evil", ""])
def test_a_card_that_names_a_file_elsewhere_is_refused(path: str, tmp_path: Path) -> None:
    text = (release(tmp_path) / CARD).read_text()
    changed = text.replace('"checkpoint_last.pt"', json.dumps(path))
    assert changed != text
    with pytest.raises(ReleaseError, match="refused, it names the file"):
        parse_card(changed.encode(), "card")
