"""`mgf lm`: an n-gram language model of transcripts, as an ARPA file.

inference/ngram_estimation.py counts and smooths; this file has the options.
"""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "make an n-gram language model (ARPA) of transcripts, for mgf score and mgf transcribe --lm"
EXAMPLES = """\
examples:
  mgf lm data/train.ltr --dest LM.arpa
  mgf lm data/train.ltr novels.txt --dest LM.arpa --order 4

A file holds a sentence per line: label files (.ltr, .spm) as fine-tuning reads them, or plain text,
spelled as the labels are. Never give the transcripts of the data that will be scored. Smoothing is
interpolated modified Kneser-Ney; all n-grams are kept in memory.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mgf lm`."""
    add = parser.add_argument
    add("transcripts", nargs="+", type=Path, metavar="TRANSCRIPTS", help="label or text files")
    add("--dest", type=Path, required=True, metavar="FILE", help="ARPA file to write")
    add(
        "--order",
        type=int,
        default=3,
        metavar="N",
        help="number of words in the longest n-gram, 1 to 6",
    )


def run(args: argparse.Namespace) -> int:
    """Estimate, write, print what was written, and return 0."""
    from ..inference.arpa import HEADER, write_arpa
    from ..inference.lexicon import read_transcripts
    from ..inference.ngram_estimation import FALLBACK, estimate
    from ..utils.atomic import begins_with, refuse_foreign

    refuse_foreign([args.dest], begins_with(HEADER), "--dest")
    sentences = [line for path in args.transcripts for line in read_transcripts(path)]
    found = estimate(sentences, args.order)
    counts = write_arpa(found.model, args.dest)
    grams = ", ".join(f"{count} {n}-grams" for n, count in enumerate(counts, start=1))
    print(f"{found.sentences} sentences, {found.words} words: {grams}")
    if found.fallback:
        orders = ", ".join(map(str, found.fallback))
        discounts = ", ".join(f"{discount:g}" for discount in FALLBACK)
        print(f"too little text to estimate the discounts of order {orders}: {discounts} taken")
    print(f"wrote {args.dest}")
    args.result = {
        "dest": args.dest,
        "sentences": found.sentences,
        "words": found.words,
        "ngrams": counts,
        "fallback": found.fallback,
    }
    return 0
