"""`mgf check`: report what training would skip or be harmed by, with the fix for each.

Run it between `mgf prepare` and the first training minute; check/manifests.py holds the rules.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import textwrap
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ..check.audio import Options
from ..check.manifests import ManifestReport, check_manifests, exit_code, find_manifests
from ..data.entries import ManifestError
from ..data.limits import FINETUNING_MAX_TOKENS, PRETRAINING_MIN_SAMPLES
from ..data.manifest import read_manifest
from ..data.rates import counted_rate
from ..utils.atomic import begins_with, refuse_foreign, replace_file
from ..utils.processor import cores
from ..utils.progress import Bars

HELP = "report what training would skip in a prepared folder, and how to fix it"
EXAMPLES = """\
examples:
  mgf check data/mine                 every manifest of the folder, labels and dictionaries too
  mgf check data/mine --fast          headers only: seconds instead of minutes
  mgf check data/mine/train.tsv --min-seconds 1 --dest check.json

exit code: 0 fine (notes are no error), 1 errors found, 2 something could not be checked
"""
_WIDTH = 100
_USUAL_RATE = 16000  # Hz


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mgf check`."""
    add = parser.add_argument
    add("data", metavar="DATA", type=Path, help="folder with manifests, or one .tsv")
    add("--fast", action="store_true", help="read headers only")
    add(
        "--sample-rate",
        type=int,
        metavar="HZ",
        help="rate of training, in Hz (default: the one that the manifests count at)",
    )
    add(
        "--min-seconds",
        type=float,
        metavar="X",
        default=0.025,
        help="skip what is shorter, in seconds (default: 0.025, one frame)",
    )
    add(
        "--max-seconds",
        type=float,
        metavar="X",
        default=math.inf,
        help="skip what is longer, in seconds (default: none)",
    )
    add(
        "--min-sample-size",
        type=int,
        metavar="N",
        default=PRETRAINING_MIN_SAMPLES,
        help="your task.min_sample_size of pre-training, in samples (default: the recipes', "
        f"{PRETRAINING_MIN_SAMPLES})",
    )
    add(
        "--max-tokens",
        type=int,
        metavar="N",
        default=FINETUNING_MAX_TOKENS,
        help="your dataset.max_tokens of fine-tuning, in samples (default: the recipes', "
        f"{FINETUNING_MAX_TOKENS})",
    )
    add(
        "--workers",
        metavar="N",
        type=int,
        default=min(8, cores()),
        help="threads that read audio",
    )
    add("--dest", type=Path, metavar="FILE", help="write the findings as JSON too (default: none)")


def run(args: argparse.Namespace) -> int:
    """Check, print the report, and return the exit code that EXAMPLES explains."""
    paths = find_manifests(args.data)
    options = Options(
        args.sample_rate or _folder_rate(paths),
        args.min_seconds,
        args.max_seconds,
        args.min_sample_size,
        args.max_tokens,
        args.fast,
        args.workers,
    )
    if args.dest:
        refuse_foreign([args.dest], begins_with('[\n {\n  "name"'), "--dest")
    with Bars() as bars:
        reports = check_manifests(paths, options, bars)
    for line in render(reports):
        print(line)
    print(_limits(options))
    if args.fast:
        print("fast: headers only; silence, clipping, damage and same content were not looked for")
    args.result = reports
    if args.dest:
        content = [dataclasses.asdict(report) for report in reports]
        with replace_file(args.dest) as stream:
            stream.write(json.dumps(content, ensure_ascii=False, indent=1) + "\n")
        print(f"wrote {args.dest}")
    return exit_code(reports)


def _folder_rate(paths: Sequence[Path]) -> int:
    """The rate that the first usable manifest counts at."""
    for path in paths:
        with suppress(ManifestError, OSError, UnicodeDecodeError):
            manifest = read_manifest(path)
            return counted_rate(manifest, range(len(manifest)), _USUAL_RATE)
    return _USUAL_RATE


def _limits(options: Options) -> str:
    """The lengths that were measured against, with their keys."""
    rate = options.sample_rate
    return (
        f"limits at {rate} Hz, as in the recipes or from --min-sample-size and --max-tokens:\n"
        f"  pre-training: task.min_sample_size={options.min_sample_size} "
        f"({options.min_sample_size / rate:.2f} s); fine-tuning: dataset.max_tokens="
        f"{options.max_tokens} ({options.max_tokens / rate:.0f} s)"
    )


def render(reports: Sequence[ManifestReport]) -> list[str]:
    """Lay the reports out in lines of at most 100 columns."""
    width = max([8, *(len(report.name) for report in reports)])
    width = min(width, 40)
    lines = [f"{'manifest':<{width}}  {'lines':>9}  {'hours':>9}  {'kept':>9}  {'skipped':>9}"]
    for report in reports:
        name = _shorten(report.name, width)
        if not report.checked:
            lines.append(f"{name:<{width}}  could not be checked")
            continue
        skipped = report.hours - report.kept_hours
        lines.append(
            f"{name:<{width}}  {report.lines:>9,}  {report.hours:>9.3f}  "
            f"{report.kept_hours:>9.3f}  {skipped:>9.3f}"
        )
    for report in reports:
        lines.extend(_render_findings(report))
    findings = [finding for report in reports for finding in report.findings]
    errors = sum(finding.severity == "error" for finding in findings)
    lines += ["", f"{errors} errors, {len(findings) - errors} notes"]
    return lines


def _render_findings(report: ManifestReport) -> list[str]:
    lines: list[str] = []
    for finding in sorted(report.findings, key=lambda f: f.severity != "error"):
        lost = f", {finding.dropped_hours:.4f} h skipped" if finding.dropped_hours else ""
        lines += [
            "",
            f"{finding.severity:<5}  {report.name}: {finding.rule}: {finding.count}{lost}",
        ]
        lines += [f"         {_shorten(example, _WIDTH - 9)}" for example in finding.examples]
        lines += textwrap.wrap(
            finding.fix,
            _WIDTH,
            initial_indent="    fix: ",
            subsequent_indent="         ",
            break_on_hyphens=False,
        )
    return lines


def _shorten(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width // 3]}...{text[-(width * 2 // 3 - 3) :]}"
