"""The options of decoding that `mgf score` and `mgf transcribe` share: words, model, beam, weights.

inference/search.py reads the files that they name.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..inference.recognizer import Recognizer
    from ..inference.search import Search

Add = Callable[..., Any]


def add_decoding(add: Add, *names: str) -> None:
    """Add the options; `names` are those of the word list."""
    add(
        *names,
        dest="word_list",
        type=Path,
        metavar="FILE",
        help="recognize only the words of a text file, or of a label file such as train.ltr "
        "(default: any)",
    )
    add(
        "--lm",
        type=Path,
        metavar="FILE",
        help="n-gram language model: ARPA, or binary of KenLM; mgf lm makes one (default: none)",
    )
    add(
        "--beam",
        type=int,
        metavar="N",
        help="number of hypotheses that a beam search follows (default: 50 with words or a "
        "language model, else greedy decoding)",
    )
    add(
        "--lm-weight",
        type=float,
        metavar="W",
        help="weight of the language model's natural log-probabilities (default: 0.5)",
    )
    add(
        "--word-score",
        type=float,
        metavar="S",
        help="natural log-probabilities that each word adds, above 0 for more and below for "
        "fewer words (default: 0)",
    )


def search_of(args: argparse.Namespace) -> Search:
    """What the options ask for.

    Raises:
        ValueError: values that do not fit each other.
    """
    from ..inference.search import Search

    return Search(args.word_list, args.lm, args.beam, args.lm_weight, args.word_score)


def searching(recognizer: Recognizer, search: Search) -> Recognizer:
    """The recognizer with what the options ask for; notes on its files go to standard error."""
    from ..utils.progress import Bars

    with Bars() as bars:
        found = recognizer.searching(search, bars)
    for note in found.search.notes if found.search else ():
        print(f"note: {note}", file=sys.stderr)
    return found


def refuse_decoding(args: argparse.Namespace, kind: str) -> None:
    """Refuse options of decoding where nothing is decoded with them.

    Raises:
        ValueError: one was given.
    """
    given = [args.word_list, args.lm, args.beam, args.lm_weight, args.word_score]
    given.append(getattr(args, "tune", None))
    if any(value is not None for value in given):
        raise ValueError(
            f"{kind}: words, language model, beam and --tune are for wav2vec_ctc checkpoints; "
            "leave these options out"
        )
