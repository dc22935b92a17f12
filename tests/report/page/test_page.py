"""The page, the Markdown and the JSON: complete, escaped, and honest about what is not there."""

import base64
import json
import re
import sys
from html.parser import HTMLParser

import fabricated as fab
import pytest

from mgf_fairseq.cli import main
from mgf_fairseq.evaluation.results import Example
from mgf_fairseq.report.build import build_report

HOSTILE = "<script>alert(1)</script>\"'&|`$x$"


class Page(HTMLParser):
    """Collects the elements of a page with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def page(report):
    return Page((report / "index.html").read_text())


def test_everything_is_inside_the_page(page):
    for attributes in (*page.all("img"), *page.all("audio")):
        assert (attributes["src"] or "").startswith("data:")
    assert {link["href"] for link in page.all("link")} == {"data:,"}
    assert page.all("script") == []
    assert all((link["href"] or "").startswith("#") for link in page.all("a"))


def test_every_link_of_the_contents_has_its_section(page):
    sections = {f"#{section['id']}" for section in page.all("section")}
    assert {link["href"] for link in page.all("a")} == sections and len(sections) == 9


def test_every_picture_says_in_words_what_it_shows(page):
    alts = [image["alt"] or "" for image in page.all("img")]
    for part in (
        "Phoneme classification, best first: all 52.0, fbank 38.3",
        "Phoneme classification by layer",
        "Sample scale",
        "utterances by speaker, t-SNE",
        "utterances by emotion, t-SNE",
        "Most frequent mistakes",
        "what the encoder heard of it",
        "waveform and spectrogram",
    ):
        assert any(part in alt for alt in alts), part


def test_the_sound_in_the_page_is_the_file(page, results):
    sounds = [base64.b64decode(str(audio["src"]).split(",")[1]) for audio in page.all("audio")]
    assert sounds == [
        (results / "all" / f"{name}.wav").read_bytes() for name in ("original", "reconstruction")
    ]


def test_what_a_row_lacks_is_said_in_its_section(page):
    for text in (
        "no speech recognition for fbank",
        "no emotion classification for fbank",
        "No training log: fbank.",
        "No embeddings: fbank.",
        "No emotion classification: fbank.",
        "not measured",
    ):
        assert text in page.text, text


def test_the_head_names_each_commit_once(page):
    assert "commits 0123abc, 4567def." in page.text


def test_the_page_carries_the_circumstances_of_each_number(page):
    for value in fab.PROVENANCE.values():
        assert str(value) in page.text or value == 61.5
    for text in ("61 s", "26.70 h, repeats counted", "labels made by machine (silver)", "1, 2, 3"):
        assert text in page.text or text == "61 s", text
    assert "learning_rate" in page.text and "The encoder is frozen" in page.text


def test_markdown_and_json_hold_the_numbers_of_the_page(report, page):
    markdown = (report / "results.md").read_text()
    assert (
        "| all | **52.0** \u00b1 0.5 (3 probe seeds)<br>+13.7 vs fbank<br>50.8 to 53.3; layer 1"
        in markdown
    )
    assert "| *chance (most frequent class)* | 12.5" in markdown
    content = json.loads((report / "results.json").read_text())
    (row,) = [row for row in content["rows"] if row["label"] == "all"]
    cell = row["cells"][0]
    column = content["columns"][cell["column"]]
    assert (column["task"], column["metric"]) == ("phone", "accuracy")
    assert cell["mean"] == pytest.approx(52.0) and cell["best"] is True
    assert cell["layers"] == pytest.approx(
        {"layer 0": 49.0, "layer 1": 52.0, "layer 2": 49.0, "weighted sum": 46.0}
    )
    assert "52.0" in page.text


def test_text_from_files_never_becomes_markup(tmp_path):
    about = fab.upstream("all", group=HOSTILE, path=HOSTILE, config={HOSTILE: HOSTILE})
    speaker = fab.probed(
        "speaker", 50.0, classes=[HOSTILE, "b"], command=HOSTILE, protocol={HOSTILE: HOSTILE}
    )
    asr = fab.recognized(50.0, examples=[Example(reference=HOSTILE, hypothesis="")])
    folder = fab.write_folder(tmp_path / "r", about, speaker, asr)
    fab.write_embeddings(folder / "speaker.npz", fab.embeddings([HOSTILE, "b"], each=3))
    build_report([tmp_path / "r"], tmp_path, title=HOSTILE)
    text = (tmp_path / "index.html").read_text()
    page = Page(text)
    assert page.all("script") == [] and "<script" not in text
    assert page.text.count(HOSTILE) > 8
    pictures = re.findall(r"data:image/svg\+xml;base64,([^\"]+)", text)
    assert pictures and all(b"<script" not in base64.b64decode(data) for data in pictures)
    markdown = (tmp_path / "results.md").read_text()
    assert "<script" not in markdown.replace(f"# {HOSTILE}", "")


def test_a_row_without_any_result_still_makes_a_report(tmp_path):
    fab.write_folder(tmp_path / "r", fab.upstream("all"))
    build_report([tmp_path / "r"], tmp_path)
    text = Page((tmp_path / "index.html").read_text()).text
    assert "no results of phoneme classification at all" in text
    assert "No training log beside any of these results." in text
    assert "No reconstruction: it takes a checkpoint with the frame or the sample scale." in text


def test_a_row_of_frame_without_sample_has_a_picture_and_no_warning_of_its_volume(tmp_path):
    folder = fab.write_folder(tmp_path / "r", fab.upstream("all"), fab.probed("phone", 40.0))
    fab.write_masked(folder / "infilling.npz")
    build_report([tmp_path / "r"], tmp_path)
    page = Page((tmp_path / "index.html").read_text())
    (alt,) = [image["alt"] for image in page.all("img") if "masked" in (image["alt"] or "")]
    assert "Filled in with a mean error of" in str(alt) and "No reconstruction" not in page.text
    assert "volume" not in page.text and page.all("audio") == []


def test_a_corrupt_file_leaves_no_half_written_report(tmp_path, capsys):
    folder = fab.write_folder(tmp_path / "r", fab.upstream("all"), fab.probed("phone", 40.0))
    (folder / "speaker.npz").write_bytes(b"PK\x03\x04 broken")
    assert main(["report", str(tmp_path / "r"), "--dest", str(tmp_path / "out")]) == 2
    shown = capsys.readouterr().err
    assert "speaker.npz cannot be read" in shown
    assert not (tmp_path / "out").exists()


def test_the_command_says_what_it_wrote_and_what_is_missing(tmp_path, capsys):
    fab.write_folder(tmp_path / "r", fab.upstream("all"), fab.recognized(60.0))
    assert main(["report", str(tmp_path / "r"), "--dest", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "missing: no results of phoneme classification at all" in shown
    assert "Speech recognition, CER: only all was measured: 60.0 %" in shown
    assert "index.html" in shown
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "index.html",
        "results.json",
        "results.md",
    ]


def test_without_matplotlib_the_extra_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["report", str(tmp_path), "--dest", str(tmp_path / "out")]) == 2
    assert "pip install '.[report]'" in capsys.readouterr().err
