"""What the READMEs name exists: files behind links, verbs, recipes, groups."""

import re
from pathlib import Path

import pytest

from mgf_fairseq.cli import VERBS
from mgf_fairseq.utils.package import config_dir

ROOT = Path(__file__).resolve().parent.parent
MADE = {".venv", "runs"}  # folders of the checkout that are not the project's
PAGES = sorted(p for p in ROOT.rglob("*.md") if MADE.isdisjoint(p.relative_to(ROOT).parts))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text())
    missing = [x for x in links if "://" not in x and not (page.parent / x).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_a_page_names_things_that_exist(page: Path) -> None:
    text = page.read_text()
    assert set(re.findall(r"^mgf ([a-z-]+) ", text, re.M)) <= set(VERBS)
    assert set(re.findall(r"`mgf ([a-z][a-z-]*)[ `]", text)) - {"VERB"} <= set(VERBS)
    configs = r"--config-dir (\$\(mgf configs(?: (\w+))?\)|\S+) --config-name (\w+)"
    for folder, kind, name in re.findall(configs, text):
        place = config_dir(kind or "pretrain") if folder.startswith("$") else ROOT / folder
        assert (place / f"{name}.yaml").is_file(), name
    for script in re.findall(r"(?:python|bash|sbatch) ((?:examples|tests)/\S+\.(?:py|sh))", text):
        assert (ROOT / script).is_file(), script


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_sentence_of_a_first_screen_is_longer_than_thirty_words(page: Path) -> None:
    if page.name == "CHANGELOG.md":
        pytest.skip("a list of changes, which is not read from the top")
    long = [s for s in sentences(first_screen(page.read_text())) if len(s.split()) > 30]
    assert long == []


def first_screen(text: str, lines: int = 40) -> str:
    """The prose that a reader sees first: no code, no tables, links by their text."""
    shown = "\n".join(text.splitlines()[:lines])
    shown = re.sub(r"```.*?(```|\Z)", "\n\n", shown, flags=re.S)
    shown = re.sub(r"!?\[([^]]*)\]\([^)]*\)", r"\1", shown)
    kept = ["" if line.startswith(("|", "#")) else line for line in shown.splitlines()]
    return re.sub(r"^\s*(-|\d+\.) ", "\n\n", "\n".join(kept), flags=re.M)


def sentences(text: str) -> list[str]:
    """The sentences of prose; a blank line ends one too."""
    return [s for part in re.split(r"\n\s*\n", text) for s in re.split(r"(?<=[.!?:;])\s", part)]


def test_the_pages_have_no_placeholder() -> None:
    for page in PAGES:
        assert not re.search(r"\b[A-Z]+_OUTPUT\b|TODO|FIXME", page.read_text()), page
