"""`mgf extract`: features of chosen layers of a manifest, as .npy files.

extract/store.py does the work; this file cuts long manifests into shards and prints.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .options import (
    add_batch_seconds,
    add_checkpoint,
    add_device,
    add_layers,
    add_user_dir,
    checkpoint_of,
    device_of,
    names,
    prepare_libraries,
    require_positive,
)

if TYPE_CHECKING:
    from ..data.manifest import Manifest
    from ..extract.folder import FeatureStore
    from ..extract.upstream import Upstream

HELP = "features of a checkpoint (or of fbank, mfcc, random weights) for the rows of manifests"
EXAMPLES = """\
examples:
  mgf extract --checkpoint out/checkpoint_last.pt --manifest data/valid.tsv --dest features
  mgf extract --checkpoint CK --manifest data/*.tsv --dest features --layers 3,last --dtype float16
  mgf extract --checkpoint fbank --manifest data/train.tsv --dest features/fbank

DEST/valid/layer_3.npy holds the frames of all utterances, one after the other; lengths.npy how
many each has; rows.npy which line of the manifest it is, counted from 0 without the root line;
features.json all else. A folder appears under its name when it is complete; the same
command resumes after an interruption.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mgf extract`."""
    add = parser.add_argument
    add_checkpoint(add, baselines=True)
    add("--manifest", type=Path, nargs="+", required=True, help="one or more .tsv")
    add("--dest", type=Path, required=True, help="folder to write to, one folder per manifest")
    add_layers(add)
    add(
        "--dtype",
        choices=["float16", "float32"],
        default="float32",
        help="number format of the features",
    )
    add_batch_seconds(add)
    add(
        "--shard-hours",
        type=float,
        default=100.0,
        metavar="H",
        help="longest audio in one folder, in hours",
    )
    add_device(add)
    add_user_dir(add)
    add("--overwrite", action="store_true", help="replace other features in DEST")


def run(args: argparse.Namespace) -> int:
    """Extract all manifests, print what was written, and return 0."""
    from ..data.manifest import read_manifest
    from ..extract.store import choose_layers, write_features
    from ..extract.upstream import load_upstream
    from ..utils.progress import Bars

    _check_options(args)
    device = device_of(args.device)
    manifests = {path: read_manifest(path) for path in args.manifest}
    prepare_libraries(args)
    upstream = load_upstream(checkpoint_of(args.checkpoint)).to(device)
    layers = None if args.layers is None else names(args.layers)
    choose_layers(upstream, layers)  # an unknown layer is said before any audio is read
    args.result = []
    for path, manifest in manifests.items():
        for name, rows in shards(manifest, path.stem, args.shard_hours, upstream.sample_rate):
            with Bars(f"{name}: ") as bars:
                store = write_features(
                    upstream,
                    path,
                    args.dest / name,
                    layers,
                    args.dtype,
                    rows=rows,
                    batch_seconds=args.batch_seconds,
                    overwrite=args.overwrite,
                    progress=bars,
                )
            _print_store(store, upstream)
            args.result.append(_described(store))
    return 0


def _check_options(args: argparse.Namespace) -> None:
    require_positive(args, "batch_seconds", "shard_hours")
    stems = [path.stem for path in args.manifest]
    twice = next((stem for stem in stems if stems.count(stem) > 1), None)
    if twice:
        raise ValueError(
            f"two manifests are called {twice!r} and would share {args.dest / twice}; give them "
            "to two commands with two --dest"
        )


def shards(
    manifest: Manifest, stem: str, hours: float, sample_rate: int
) -> Iterator[tuple[str, range]]:
    """Cut a manifest into stretches of rows that hold at most so many hours, and name them.

    The stem alone where one is enough, else `stem-00000`, `stem-00001`, ...
    """
    limit = hours * 3600 * sample_rate
    starts, held = [0], 0
    for row, count in enumerate(manifest.num_samples.tolist()):
        if row > starts[-1] and held + count > limit:
            starts.append(row)
            held = 0
        held += count
    for number, (start, stop) in enumerate(zip(starts, [*starts[1:], len(manifest)], strict=True)):
        yield stem if len(starts) == 1 else f"{stem}-{number:05d}", range(start, stop)


def _described(store: FeatureStore) -> dict[str, object]:
    return {
        "folder": store.folder,
        "utterances": len(store.rows),
        "frames": int(store.lengths.sum()),
        "frame_rate": store.frame_rate,
        "layers": store.layer_names,
        "skipped": {row + 2: reason for row, reason in store.skipped.items()},
    }


def _print_store(store: FeatureStore, upstream: Upstream) -> None:
    for row, reason in list(store.skipped.items())[:10]:
        print(f"skipped: line {row + 2}: {reason}")
    if len(store.skipped) > 10:
        print(f"skipped: {len(store.skipped) - 10} more; {store.folder}/features.json has all")
    frames = int(store.lengths.sum())
    print(
        f"{store.folder}: {len(store.rows)} utterances, {frames / store.frame_rate / 3600:.2f} h, "
        f"{frames} frames of {upstream.width}, {', '.join(store.layer_names)}"
    )
