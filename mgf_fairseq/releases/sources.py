"""Where releases are: a folder on this machine, or a URL.

Either is one release or holds several: folders of a folder, or what models.json of a URL lists.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..utils.download import read_small
from ..utils.suggestions import did_you_mean
from .card import CARD, INDEX, MAKER, Release, ReleaseError, parse_card, require_name

PARTIAL = ".partial"  # end of the name of a folder that is being downloaded
_SCHEMES = ("https://", "http://")


@dataclass(frozen=True)
class Found:
    """A release and where its files are."""

    release: Release
    place: str  # folder or URL

    @property
    def remote(self) -> bool:
        """Whether it has to be downloaded."""
        return is_url(self.place)


def is_whole(name: str) -> bool:
    """Whether a folder of this name is no download or release in progress."""
    return not name.startswith(".") and not name.endswith(PARTIAL)


def is_url(given: str) -> bool:
    """Whether a source is a URL and no folder."""
    return given.startswith(_SCHEMES)


def find_releases(given: str) -> dict[str, Found]:
    """The releases of a folder or URL by name; of a URL, only the index and the cards are read.

    Raises:
        ReleaseError: there is none, or a card cannot be used.
        OSError: the URL cannot be reached.
    """
    found = _at_url(given.rstrip("/")) if is_url(given) else _in_folder(Path(given))
    return {item.release.name: item for item in found}


def choose(found: dict[str, Found], name: str | None, given: str) -> Found:
    """The release of a name; without one, the only release.

    Raises:
        ReleaseError: there is none of that name (the nearest is named), or several and no name.
    """
    if name is None:
        if len(found) > 1:
            raise ReleaseError(f"{given} holds several releases: name one of {', '.join(found)}")
        return next(iter(found.values()))
    if name not in found:
        hint = did_you_mean(name, found)
        raise ReleaseError(f"{given}: no release {name!r}{hint}; there are: {', '.join(found)}")
    return found[name]


def _in_folder(folder: Path) -> list[Found]:
    if not folder.is_dir():
        raise ReleaseError(f"{folder}: no such folder; give a folder of releases, or a URL")
    single = folder / CARD
    whole = (card for card in folder.glob(f"*/{CARD}") if is_whole(card.parent.name))
    cards = [single] if single.is_file() else sorted(whole)
    if not cards:
        raise ReleaseError(
            f"{folder} is not a release (no {CARD} in it or in a folder of it); {MAKER} makes one"
        )
    found = [Found(parse_card(card.read_bytes(), str(card)), str(card.parent)) for card in cards]
    for item in found:
        name = item.release.name
        if item.place != str(folder) and Path(item.place).name != name:
            raise ReleaseError(f"{item.place} has the card of {name!r}: rename the folder to that")
    return found


def _at_url(url: str) -> list[Found]:
    index = read_small(f"{url}/{INDEX}")
    if index is not None:
        return [_listed(url, name, sha256) for name, sha256 in _names(url, index).items()]
    content = read_small(f"{url}/{CARD}")
    if content is None:
        raise ReleaseError(f"{url} is not a release: neither {INDEX} nor {CARD} is there")
    return [Found(parse_card(content, f"{url}/{CARD}"), url)]


def _names(url: str, index: bytes) -> dict[str, str]:
    """Names in an index, with the checksums of their cards."""
    where = f"{url}/{INDEX}"
    try:
        found: Any = json.loads(index)
        listed = {str(name): str(sha256) for name, sha256 in found["models"].items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ReleaseError(f"{where}: no index of releases ({error}); {MAKER} makes one") from None
    if not listed:
        raise ReleaseError(f"{where} lists no release")
    for name in listed:
        require_name(name, where)
    return listed


def _listed(url: str, name: str, sha256: str) -> Found:
    where = f"{url}/{name}/{CARD}"
    content = read_small(where)
    if content is None:
        raise ReleaseError(f"{where} is missing, though {INDEX} lists it; ask who publishes it")
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ReleaseError(
            f"{where} is broken: its sha256 is {found}, and {INDEX} says {sha256}; ask who "
            "publishes it"
        )
    release = parse_card(content, where)
    if release.name != name:
        raise ReleaseError(f"{where} is the card of {release.name!r}; ask who publishes it")
    return Found(release, f"{url}/{name}")
