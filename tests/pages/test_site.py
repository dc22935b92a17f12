"""The documentation site builds without a warning from the pages where they are."""

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

pytest.importorskip("mkdocs", reason="the site is built with extra [docs]: pip install mkdocs")

ROOT = Path(__file__).resolve().parents[2]


class Links(HTMLParser):
    """What a page links to and shows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = dict(attributes)
        self.found += [value for key in ("href", "src") if (value := named.get(key))]


def build(dest: Path, config: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(config)]
    return subprocess.run([*command, "-d", str(dest)], cwd=ROOT, capture_output=True, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly: a broken link or anchor is an error."""
    dest = tmp_path_factory.mktemp("site")
    done = build(dest, ROOT / "mkdocs.yml")
    assert done.returncode == 0, done.stderr[-3000:]
    return dest


def test_every_page_is_in_the_site_and_in_its_menu(site: Path) -> None:
    sys.path.insert(0, str(ROOT / "examples"))
    try:
        from site_pages import pages
    finally:
        sys.path.pop(0)
    menu = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    named = {value for entry in menu for value in leaves(entry)}
    assert named == {page.relative_to(ROOT).as_posix() for page in pages()}
    for page in named:
        html = site / page.replace("README.md", "index.html").replace(".md", ".html")
        assert html.is_file(), page


def leaves(entry: object) -> list[str]:
    if isinstance(entry, str):
        return [entry]
    parts = entry.values() if isinstance(entry, dict) else entry
    assert not isinstance(parts, str)
    return [leaf for part in parts for leaf in leaves(part)]


def test_every_link_of_the_site_leads_to_a_file_of_it(site: Path) -> None:
    missing = []
    for page in site.rglob("*.html"):
        for link in Links(page.read_text(encoding="utf-8")).found:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or not parts.path or page.name == "404.html":
                continue
            target = (page.parent / unquote(parts.path)).resolve()
            if not target.is_relative_to(site.resolve()) or not target.exists():
                missing.append((page.relative_to(site).as_posix(), link))
    assert missing == []


def test_a_broken_link_or_anchor_fails_the_build(site: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    (tmp_path / "docs").mkdir()
    config |= {"hooks": [], "docs_dir": str(tmp_path / "docs"), "nav": ["a.md", "b.md"]}
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(config))
    (tmp_path / "docs" / "b.md").write_text("# B\n")
    for link in ("gone.md", "b.md#gone"):
        (tmp_path / "docs" / "a.md").write_text(f"# A\n\n[x]({link})\n")
        done = build(tmp_path / "out", tmp_path / "mkdocs.yml")
        assert done.returncode != 0 and "gone" in done.stderr, done.stderr
