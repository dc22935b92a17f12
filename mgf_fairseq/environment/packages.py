"""Installed packages as pip records them: their versions, and which of our requirements they fail.

Reads metadata alone and imports no package, so it also works where one of them cannot be imported.
"""

from __future__ import annotations

from importlib import metadata

from packaging.requirements import Requirement

OURS = "mgf-fairseq"
# Distributions that install a folder `fairseq`; two of them overwrite each other's files.
FAIRSEQS = ("fairseq-fixed", "fairseq", "ve-fairseq")


def version_of(name: str) -> str | None:
    """The installed version of a distribution, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def requirements() -> list[Requirement]:
    """What this package requires, its extras too; none where it is not installed."""
    try:
        return [Requirement(line) for line in metadata.requires(OURS) or []]
    except metadata.PackageNotFoundError:
        return []


def extras() -> dict[str, list[str]]:
    """Each extra of this package -> its requirements that are not met; empty: complete."""
    found: dict[str, list[str]] = {}
    try:
        names = metadata.metadata(OURS).get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        names = []
    for extra in names:
        asked = [r for r in requirements() if r.marker and r.marker.evaluate({"extra": extra})]
        found[extra] = [plain for r in asked if (plain := unmet(r))]
    return found


def core_problems() -> list[str]:
    """Requirements without an extra that are not met, each as it would be given to pip."""
    core = [r for r in requirements() if not r.marker or r.marker.evaluate({"extra": ""})]
    missing = [plain for r in core if (plain := unmet(r))]
    if any(version_of(name) for name in FAIRSEQS):
        return [plain for plain in missing if not plain.startswith("fairseq")]
    return missing


def unmet(requirement: Requirement) -> str:
    """The requirement as pip takes it if the installed version does not meet it; else nothing."""
    version = version_of(requirement.name)
    met = version is not None and requirement.specifier.contains(version, prereleases=True)
    return "" if met else f"{requirement.name}{requirement.specifier}"
