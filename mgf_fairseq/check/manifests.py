"""Find what training would drop or be spoilt by in manifests, and how to fix it.

Between `mgf prepare` and training: rules come from audio.py and labels.py, `mgf check`
prints the report.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..data.entries import ManifestError
from ..data.manifest import Manifest, read_manifest
from ..data.own_files import manifests_in
from ..utils.threads import ordered_map
from .audio import RULES, Facts, Options, Severity, measure
from .labels import LabelProblem, check_labels

_EXAMPLES = 3


@dataclass(frozen=True)
class Finding:
    """One rule's result on one manifest."""

    rule: str
    severity: Severity
    count: int  # lines, or symbols for label rules that say so
    fix: str
    dropped_hours: float = 0.0
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """A line that leaves the manifest's root, so nothing is read for it."""

    reason: str


@dataclass
class ManifestReport:
    """One manifest: how much of it training will use, and why not the rest."""

    name: str
    lines: int = 0
    hours: float = 0.0
    kept_hours: float = 0.0
    checked: bool = True
    findings: list[Finding] = field(default_factory=list)


def find_manifests(target: Path) -> list[Path]:
    """List the manifests of a folder, or the one that is named.

    Raises:
        ManifestError: no such path, or a folder without a .tsv.
    """
    if not target.exists():
        raise ManifestError(f"{target}: no such file or folder; mgf prepare writes manifests")
    if target.is_file():
        return [target]
    found = manifests_in(target)
    if not found:
        raise ManifestError(
            f"{target}: no .tsv manifest here; write them with mgf prepare SOURCE --dest {target}"
        )
    return found


def check_manifests(
    paths: Sequence[Path], options: Options, advance: Callable[[int], object] = lambda n: None
) -> list[ManifestReport]:
    """Check each manifest with its labels, then look for audio that is in two places.

    Args:
        paths: manifests, as `find_manifests` gives them.
        options: thresholds and effort.
        advance: called with the number of lines looked at.
    """
    reports: list[ManifestReport] = []
    sightings: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for number, path in enumerate(paths):
        report = ManifestReport(path.name)
        reports.append(report)
        try:
            manifest = read_manifest(path)
            manifest.require_root()
            entries = [_entry(manifest, index) for index in range(len(manifest))]
        except ManifestError as error:
            report.checked = False
            report.findings.append(Finding("manifest", "error", 1, str(error)))
            continue
        except (OSError, UnicodeDecodeError) as error:
            report.checked = False
            report.findings.append(
                Finding("manifest", "error", 1, f"{path} cannot be read ({error})")
            )
            continue
        facts = _measure_all(entries, manifest.num_samples.tolist(), options, advance)
        _apply_rules(report, manifest, facts, options)
        for index, fact in enumerate(facts):
            if fact.digest:
                sightings[fact.digest].append((number, f"{manifest.paths[index]}"))
        num_samples = [fact.num_samples or fact.expected for fact in facts]
        report.findings.extend(map(_label_finding, check_labels(path, num_samples)))
    _find_duplicates(reports, sightings)
    return reports


def _entry(manifest: Manifest, index: int) -> str | Refused:
    """Resolve a line, or say why training would not read it."""
    try:
        return manifest.entry(index)
    except ManifestError as error:
        return Refused(str(error))


def _measure_all(
    entries: Sequence[str | Refused],
    expected: Sequence[int],
    options: Options,
    advance: Callable[[int], object],
) -> list[Facts]:
    # Threads, not processes: decoding, hashing and NumPy release the interpreter lock.
    def look(line: tuple[str | Refused, int]) -> Facts:
        entry, count = line
        if isinstance(entry, Refused):
            return Facts(count, exists=True, failure=entry.reason)
        return measure(entry, count, options)

    facts: list[Facts] = []
    for fact in ordered_map(look, zip(entries, expected, strict=True), options.workers):
        facts.append(fact)
        advance(1)
    return facts


def _apply_rules(
    report: ManifestReport, manifest: Manifest, facts: Sequence[Facts], options: Options
) -> None:
    """Count the lines and hours of each rule; a line is dropped by the first rule that drops."""
    dropped_by: dict[int, str] = {}
    hours = [(f.num_samples or f.expected) / options.sample_rate / 3600 for f in facts]
    for each in RULES:
        hits = [
            (i, detail)
            for i, fact in enumerate(facts)
            if i not in dropped_by and (detail := each.test(fact, options))
        ]
        if each.drops:
            dropped_by.update((i, each.name) for i, _ in hits)
        if hits:
            examples = [f"line {i + 2} {manifest.paths[i]}: {d}" for i, d in hits[:_EXAMPLES]]
            severity = "note" if len(hits) <= each.much * len(facts) else each.severity
            fix = each.fix.format(**vars(options))
            lost = sum(hours[i] for i, _ in hits) if each.drops else 0.0
            report.findings.append(
                Finding(each.name, severity, len(hits), fix, lost, tuple(examples))
            )
    report.lines = len(facts)
    report.hours = sum(hours)
    report.kept_hours = sum(h for i, h in enumerate(hours) if i not in dropped_by)


def _label_finding(problem: LabelProblem) -> Finding:
    severity: Severity = "error" if problem.fatal else "note"
    return Finding(
        f"{problem.rule} ({problem.file})",
        severity,
        problem.count,
        problem.mend,
        examples=problem.examples,
    )


def _find_duplicates(
    reports: Sequence[ManifestReport], sightings: dict[str, list[tuple[int, str]]]
) -> None:
    """Same audio twice in one manifest is a note; in two manifests it is leakage, an error."""
    within: dict[int, list[str]] = defaultdict(list)
    across: dict[int, list[str]] = defaultdict(list)
    for places in sightings.values():
        by_manifest: dict[int, list[str]] = defaultdict(list)
        for number, name in places:
            by_manifest[number].append(name)
        for number, names in by_manifest.items():
            within[number].extend(f"{name} = {names[0]}" for name in names[1:])
            for other in by_manifest:
                if other < number and not _is_part(reports[other].name, reports[number].name):
                    twin = f"{reports[other].name}: {by_manifest[other][0]}"
                    across[number].append(f"{names[0]} = {twin}")
                    break
    _add_duplicates(reports, within, "duplicate", "note", "remove all but one line of each")
    fix = "the splits leak into each other: remove these lines from one of the two manifests"
    _add_duplicates(reports, across, "duplicate across splits", "error", fix)


def _is_part(one: str, other: str) -> bool:
    """Whether one manifest is by its name a part of the other, as train_10min is of train."""
    shorter, longer = sorted((Path(one).stem, Path(other).stem), key=len)
    return longer.startswith(f"{shorter}_")


def _add_duplicates(
    reports: Sequence[ManifestReport],
    found: dict[int, list[str]],
    name: str,
    severity: Severity,
    fix: str,
) -> None:
    for number, examples in found.items():
        if examples:
            reports[number].findings.append(
                Finding(name, severity, len(examples), fix, examples=tuple(examples[:_EXAMPLES]))
            )


def exit_code(reports: Iterable[ManifestReport]) -> int:
    """0: fine (notes allowed); 1: errors found; 2: a manifest could not be checked."""
    reports = list(reports)
    if any(not report.checked for report in reports):
        return 2
    return int(any(f.severity == "error" for report in reports for f in report.findings))
