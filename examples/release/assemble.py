"""The last step of make.sh: put checkpoint, exports, card and checksums into a release folder.

    python examples/release/assemble.py --help

mgf_fairseq/releases/make.py does the work; `mgf models` lists what it made.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mgf_fairseq.releases.make import Parts, make_release


def main(words: list[str]) -> None:
    """Make one release folder and say where it is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--name", required=True, help="name of the release and of its folder")
    add("--title", required=True, help="what it is, in one line")
    add("--license", required=True, help="license of the weights, as in CC BY 4.0")
    add("--corpus", nargs="+", required=True, help="each corpus with its license, in one line")
    add("--manifest", nargs="+", type=Path, required=True, help="train.tsv of each corpus")
    add("--checkpoint", type=Path, required=True, help="checkpoint, or folder of its run")
    add("--results", type=Path, help="its folder of mgf evaluate (default: no scores)")
    add("--export", nargs="+", type=Path, default=[], help="folders of mgf export")
    add("--commands", type=Path, required=True, help="file of the commands that made all this")
    add("--dest", type=Path, required=True, help="folder of releases")
    args = parser.parse_args(words)
    parts = Parts(
        name=args.name,
        title=args.title,
        license=args.license,
        corpora=args.corpus,
        manifests=args.manifest,
        checkpoint=args.checkpoint,
        results=args.results,
        exports={folder.name: folder for folder in args.export},
        commands=args.commands.read_text(encoding="utf-8").splitlines(),
    )
    print(f"{make_release(parts, args.dest)}: made")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (ValueError, OSError) as error:
        sys.exit(f"release: {error}")
