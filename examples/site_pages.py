"""Which pages the documentation site has: the Markdown files of this repository, where they are.

A hook of mkdocs (see mkdocs.yml). It adds each page under its path in the repository, and every
other file that a page links to, so that links on the site are those of the pages.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("examples", "manifests", "tests/soak")
TOP = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def pages(root: Path = ROOT) -> list[Path]:
    """The Markdown files that make the site."""
    found = [page for folder in FOLDERS for page in sorted((root / folder).rglob("*.md"))]
    own = (page for page in found if "runs" not in page.relative_to(root).parts)
    return [*(root / name for name in TOP), *own]


def linked(page: Path) -> set[Path]:
    """Files that a page links to or shows, which exist and are no pages."""
    targets = (target for target in LINK.findall(page.read_text("utf-8")) if "://" not in target)
    files = {(page.parent / target).resolve() for target in targets}
    return {path for path in files if path.is_file() and path.suffix != ".md"}


def on_files(files: Files, config: Any) -> Files:
    """Replace what mkdocs found in its own folder by the pages and what they link to."""
    theme = [file for file in files if file.src_dir != config.docs_dir]
    wanted = pages()
    others = sorted(set().union(*(linked(page) for page in wanted)))
    made = [
        File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path))
        for path in [*wanted, *others]
    ]
    return Files([*theme, *made])
