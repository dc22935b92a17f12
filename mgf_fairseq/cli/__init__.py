"""The command `mgf`: one table of verbs, each a thin module that is imported when it is called.

Last in the flow: verbs parse options and print; the work is done by the library beside them.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import sys
import traceback
from collections.abc import Sequence
from types import ModuleType

from .options import VerbParser, no_verb
from .plain import plain

# verb -> (module, one line for `mgf --help`, which must not import the module to show it).
VERBS: dict[str, tuple[str, str]] = {
    "prepare": ("prepare", "turn a folder of recordings into manifests and labels"),
    "check": ("check", "report what training would skip in a prepared folder, and how to fix it"),
    "shard": ("shard", "pack the audio of a prepared folder into few large archives"),
    "pretrain": ("pretrain", "pre-train on a prepared folder"),
    "finetune": ("finetune", "fine-tune a checkpoint to recognize or classify"),
    "health": ("health", "is a training healthy, and which setting to change if not"),
    "score": ("score", "error rates or accuracy of a fine-tuned checkpoint"),
    "lm": ("lm", "make an n-gram language model of transcripts"),
    "average": ("average", "average the weights of checkpoints of one run"),
    "transcribe": ("transcribe", "transcribe recordings with a fine-tuned checkpoint"),
    "classify": ("classify", "label recordings with a fine-tuned checkpoint"),
    "extract": ("extract", "write features of chosen layers of a checkpoint as .npy files"),
    "units": ("units", "cluster a layer into the units that fairseq's HuBERT trains on"),
    "probe": ("probe", "earlier name of evaluate"),
    "evaluate": ("evaluate", "run the evaluations of one or many representations"),
    "report": ("report", "make one page with the tables and pictures of evaluations"),
    "export": (
        "export",
        "convert a checkpoint for transformers, ONNX, s3prl, torchaudio or fairseq",
    ),
    "import": (
        "import_model",
        "make a checkpoint from a wav2vec 2.0 or HuBERT of transformers or fairseq",
    ),
    "models": ("models", "list, check and download pre-trained models of a folder or URL"),
    "info": ("info", "show versions, machine, devices and missing optional packages"),
    "doctor": ("doctor", "find what is broken in this environment, and name the fix"),
    "completion": ("completion", "print a script with which bash or zsh completes mgf"),
    "user-dir": ("user_dir", "print the folder to give to fairseq as common.user_dir"),
    "configs": ("configs", "print the folder to give to fairseq-hydra-train as --config-dir"),
}
_DESCRIPTION = (
    "Multi-granularity self-supervised pre-training of speech encoders, as a fairseq plugin."
)
_EPILOG = """\
a first run:
  mgf prepare ~/recordings --dest data/mine      manifests from a folder of audio
  mgf check data/mine                            what is wrong with them, if anything
  mgf pretrain data/mine                         trains an encoder on the audio alone
  mgf finetune runs/mgf_mini/all data/mine --dest runs/ctc    makes a recognizer of it
  mgf transcribe runs/ctc talk.mp3               writes what is said

`mgf VERB --help` explains a verb and shows an example.
"""


def version() -> str:
    """The version; in a checkout with the commit, where git is there to name it."""
    from .. import __version__
    from ..evaluation.provenance import commit

    found = commit()
    return __version__ if found.startswith("version") else f"{__version__} (commit {found})"


class _Version(argparse.Action):
    """Print the version and exit; it is looked up only then, since it asks git."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"mgf_fairseq {version()}")
        parser.exit()


def _top_parser() -> argparse.ArgumentParser:
    width = max(len(verb) for verb in VERBS)
    table = "\n".join(f"  {verb:<{width}}  {line}" for verb, (_, line) in VERBS.items())
    parser = argparse.ArgumentParser(
        prog="mgf",
        usage="mgf VERB [options]",
        description=f"{_DESCRIPTION}\n\nverbs:\n{table}",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    return parser


def _verb_parser(verb: str, module: ModuleType) -> VerbParser:
    parser = VerbParser(verb, description=module.HELP, epilog=module.EXAMPLES)
    module.add_arguments(parser)
    parser.add_common()
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code; 2 for wrong usage and for errors a person can fix.

    `ValueError` and `OSError` (our own errors derive from them) become one line on standard error;
    anything else is a defect and keeps its traceback.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = _top_parser()
    if not arguments:
        parser.print_help()
        return 2
    if arguments[0].startswith("-"):
        parser.parse_args(arguments)
        return 2
    verb = arguments[0]
    if verb not in VERBS:
        no_verb(parser, verb, list(VERBS))
    module = importlib.import_module(f"{__name__}.{VERBS[verb][0]}")
    args = _verb_parser(verb, module).parse_args(arguments[1:])
    try:
        with contextlib.redirect_stdout(sys.stderr if args.json else sys.stdout):
            code = int(module.run(args))
    except (ValueError, OSError) as error:
        message = " ".join(str(error).split())
        if args.traceback:
            traceback.print_exc()
        else:
            print(f"mgf {verb}: error: {message}", file=sys.stderr)
        code, args.result = 2, {"error": message}
    except KeyboardInterrupt:
        print(f"mgf {verb}: stopped", file=sys.stderr)
        return 130
    if args.json:
        print(json.dumps(plain(args.result), ensure_ascii=False, indent=1))
    return code
