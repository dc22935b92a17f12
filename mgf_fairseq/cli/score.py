"""`mgf score`: error rates of a fine-tuned checkpoint.

Last step after stock fine-tuning; inference/decoding.py transcribes, inference/wer.py counts, this
file prints.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from ..utils.atomic import begins_with, refuse_foreign, replace_file
from .class_table import HEAD, run_classes
from .decoding_options import add_decoding, refuse_decoding, search_of, searching
from .options import (
    add_batch_seconds,
    add_checkpoint,
    add_device,
    add_user_dir,
    checkpoint_of,
    device_of,
    prepare_libraries,
    require_positive,
)

if TYPE_CHECKING:
    from ..evaluation.finetuning.tune import Tuned
    from ..inference.recognizer import Recognizer
    from ..inference.search import Search
    from ..inference.wer import CorpusScore, UtteranceScore

HELP = (
    "error rates of a fine-tuned wav2vec_ctc or wav2vec_seq2seq, accuracy of a classification one"
)
EXAMPLES = """\
examples:
  mgf score --checkpoint out/ctc/checkpoint_best.pt --manifest data/test.tsv
  mgf score --checkpoint CK --manifest data/test.tsv --worst 20 --dest test.json
  mgf score --checkpoint CK --manifest data/test.tsv --words data/train.ltr
  mgf score --checkpoint CK --manifest data/test.tsv --lm LM.arpa --tune data/valid.tsv

The labels lie beside the manifest (test.ltr for test.tsv). Letters and SentencePiece pieces are
joined to words first; the character error rate counts the space between words. Decoding is greedy
without --words, --lm and --beam; --tune chooses the weights on another manifest.
Of a classifier it prints accuracy, unweighted average recall (UAR) and which label is taken for
which.
"""


_BEGINNINGS = ('{\n "corpus"', "entry\twords\tword_errors", HEAD)  # of what `_write` writes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mgf score`."""
    add = parser.add_argument
    add_checkpoint(add)
    add("--manifest", type=Path, required=True, help="what to score: a .tsv")
    add("--labels", help="ending of the label file (default: as in fine-tuning)")
    add("--dict", type=Path, help="dictionary file (default: the checkpoint's own)")
    add("--worst", type=int, default=10, metavar="N", help="number of worst utterances to list")
    add_batch_seconds(add, 120.0)
    add_decoding(add, "--words", "--word-list")
    add(
        "--tune",
        type=Path,
        metavar="TSV",
        help="manifest to choose --lm-weight and --word-score on; never the one that is scored "
        "(default: none)",
    )
    add_device(add)
    add_user_dir(add)
    add(
        "--dest",
        type=Path,
        metavar="FILE",
        help="write all transcripts: FILE.json or FILE.tsv (default: none)",
    )


def run(args: argparse.Namespace) -> int:
    """Score the manifest, print the result, and return 0."""
    _check_options(args)
    device = device_of(args.device)
    prepare_libraries(args)
    import torch

    from ..checkpoints.reading import model_name
    from ..data.manifest import read_manifest
    from ..evaluation.finetuning.score import score_manifest
    from ..inference.recognizer import load_recognizer
    from ..utils.progress import bar

    total = len(read_manifest(args.manifest))
    checkpoint = Path(checkpoint_of(args.checkpoint))
    if model_name(checkpoint) == "wav2vec_classification":
        refuse_decoding(args, "a classifier")
        return run_classes(args, checkpoint, device)
    search = search_of(args)
    recognizer = load_recognizer(checkpoint, args.manifest.resolve().parent, args.dict)
    recognizer.model.to(device)
    recognizer, search, tuned = _tuned(args, searching(recognizer, search), search)
    with bar(total=total, unit="utt", desc="transcribe", leave=False) as shown:
        found = score_manifest(
            recognizer,
            args.manifest,
            args.labels,
            args.batch_seconds,
            torch.device(device),
            shown.update,
        )
    for index, reason in sorted(found.skipped.items()):
        print(f"skipped: line {index + 2}: {reason}")
    skipped = len(found.skipped)
    _print_report(found.corpus, found.utterances, recognizer, skipped, args.worst, search.said)
    if args.dest:
        _write(args.dest, found.corpus, found.utterances)
    args.result = {
        "checkpoint": checkpoint,
        "manifest": args.manifest,
        "corpus": found.corpus,
        "skipped": {index + 2: reason for index, reason in found.skipped.items()},
        "dest": args.dest,
        "decoding": search.said,
        "tuned": tuned,
    }
    return 0


def _tuned(
    args: argparse.Namespace, recognizer: Recognizer, search: Search
) -> tuple[Recognizer, Search, Tuned | None]:
    """Choose weights on another manifest, if one is given, and print all that were tried."""
    if args.tune is None:
        return recognizer, search, None
    from ..evaluation.finetuning.tune import tune
    from ..utils.progress import Bars

    with Bars() as bars:
        tuned = tune(recognizer, args.tune, args.labels, args.batch_seconds, bars)
    best = tuned.best
    print(f"tuned on {args.tune}, {tuned.utterances} utterances (not on {args.manifest}):")
    print("  lm weight  word score      WER      CER")
    for point in tuned.points:
        mark = "  <- taken" if point is best else ""
        print(
            f"  {point.lm_weight:9g}  {point.word_score:10g}  {point.wer:7.2f}  {point.cer:7.2f}"
            f"{mark}"
        )
    assert recognizer.search is not None
    weighted = recognizer.search.weighted(best.lm_weight, best.word_score)
    chosen = dataclasses.replace(recognizer.search, decoder=weighted)
    lm_weight = best.lm_weight if search.lm is not None else None
    search = dataclasses.replace(search, lm_weight=lm_weight, word_score=best.word_score)
    return dataclasses.replace(recognizer, search=chosen), search, tuned


def _check_options(args: argparse.Namespace) -> None:
    require_positive(args, "batch_seconds")
    if args.tune is not None:
        if args.tune.resolve() == args.manifest.resolve():
            raise ValueError(
                f"--tune {args.tune}: this is the manifest to score; tune on another, as valid.tsv"
            )
        if args.lm_weight is not None or args.word_score is not None:
            raise ValueError(
                "--tune chooses --lm-weight and --word-score: leave these out, or leave --tune out"
            )
    if args.worst < 0:
        raise ValueError(f"--worst {args.worst} must not be negative")
    if args.dest and args.dest.suffix not in (".json", ".tsv"):
        raise ValueError(f"--dest {args.dest} must end in .json or .tsv")
    if args.dest:
        refuse_foreign([args.dest], begins_with(*_BEGINNINGS), "--dest")


def _print_report(
    corpus: CorpusScore,
    scores: list[UtteranceScore],
    recognizer: Recognizer,
    skipped: int,
    count: int,
    decoding: str,
) -> None:
    from ..inference.wer import worst

    bad = worst(scores, count)
    if bad:
        print(f"worst {len(bad)} of {len(scores)} utterances:")
    for score in bad:
        print(f"  {score.entry}  {score.word_errors} errors in {score.words} words")
        print(f"    ref  {score.reference}")
        print(f"    hyp  {score.hypothesis or '(nothing)'}")
    remark = f", {skipped} skipped" if skipped else ""
    if decoding != "greedy":
        print(f"decoding     {decoding}")
    print(f"utterances   {corpus.utterances}{remark}, {corpus.words} words")
    print(f"WER          {corpus.wer:.2f} %  (95 %: {corpus.wer_low:.2f} to {corpus.wer_high:.2f})")
    print(f"CER          {corpus.cer:.2f} %  (95 %: {corpus.cer_low:.2f} to {corpus.cer_high:.2f})")
    print(f"intervals    drawn over {corpus.interval_over}")
    print(
        f"word errors  {corpus.substitutions} substituted, {corpus.deletions} deleted, "
        f"{corpus.insertions} inserted"
    )
    if recognizer.attention is None:
        print(f"blank ratio  {corpus.blank_ratio:.3f} of frames")
    for line in advice(corpus, recognizer):
        print(line)


def advice(corpus: CorpusScore, recognizer: Recognizer) -> list[str]:
    """Say why a model may have learned nothing yet; empty where the score shows that it has."""
    if corpus.wer < 100.0 and corpus.blank_ratio <= 0.98:
        return []
    num_updates, frozen = recognizer.num_updates, recognizer.freeze_finetune_updates
    lines = ["", "this model recognizes nothing yet. Look at these, in this order:"]
    if num_updates <= frozen:
        lines.append(
            f"- the encoder is still frozen: {num_updates} updates done, "
            f"freeze_finetune_updates={frozen}.\n  Train longer, or lower it"
        )
    elif recognizer.attention is not None:
        lines.append(
            f"- too few updates: {num_updates} done. An attention decoder writes likely letters at "
            "first,\n  whatever is said, until it finds where to look; CTC needs less data"
        )
    else:
        lines.append(
            f"- too few updates: {num_updates} done. Nothing but blanks is normal for CTC "
            "at first:\n  watch valid_uer, which falls before valid_wer does"
        )
    lines += [
        "- the learning rate: if valid_loss does not fall, try 3 times more, or 3 times less",
        "- labels or dictionary: run mgf check on the data folder (symbols outside the dictionary,",
        "  labels longer than the audio has frames, labels of another manifest)",
        "- word boundaries: letters need '|' after each word, SentencePiece pieces their '▁'",
        "- normalize: fine-tuning and pre-training must agree; the checkpoint decides here",
    ]
    return lines


def _write(path: Path, corpus: CorpusScore, scores: list[UtteranceScore]) -> None:
    """Write the transcripts and counts, with the corpus sums where the format has room."""
    if path.suffix == ".json":
        content = {
            "corpus": dataclasses.asdict(corpus),
            "utterances": [dataclasses.asdict(score) for score in scores],
        }
        text = json.dumps(content, ensure_ascii=False, indent=1)
    else:
        names = ["entry", "words", "word_errors", "characters", "character_errors"]
        names += ["reference", "hypothesis"]
        rows = ["\t".join(str(getattr(score, name)) for name in names) for score in scores]
        text = "\n".join(["\t".join(names), *rows])
    with replace_file(path) as stream:
        stream.write(f"{text}\n")
    print(f"wrote {path}")
