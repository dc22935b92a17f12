"""What the verbs' options are called, what several of them share, and what they were called before.

The scheme: ``--checkpoint`` is what is used (a file or the folder of its run), ``--dest`` what is
written, lists are given as ``3,last`` or ``3 last``, and units and defaults are in every help line.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from ..checkpoints.fresh import FreshWeights
from ..utils.suggestions import did_you_mean

Add = Callable[..., Any]  # add_argument of a parser or of a group


class Renamed(NamedTuple):
    """An option that had another name.

    Where the old name is a `flag` now, only a word too many after it makes it the old option.
    """

    verb: str
    old: str
    new: str
    flag: bool = False


RENAMED = (
    Renamed("check", "--json", "--dest", flag=True),
    Renamed("extract", "--layer", "--layers"),
    Renamed("probe", "--upstream", "--checkpoint"),
    Renamed("score", "--output", "--dest"),
)

# ---- parsing


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Help lines that end with the default, where they do not name it by themselves."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        default = action.default
        if default in (None, False, argparse.SUPPRESS) or default == []:
            return text
        shown = ",".join(map(str, default)) if isinstance(default, list) else str(default)
        known = "default" in text or re.search(rf"(?<![\w.]){re.escape(shown)}(?![\w.])", text)
        return text if known else f"{text} (default: {shown.replace('%', '%%')})"


class VerbParser(argparse.ArgumentParser):
    """The parser of one verb: old names keep working, misspelled ones get the nearest."""

    def __init__(self, verb: str, **settings: Any) -> None:
        super().__init__(prog=f"mgf {verb}", formatter_class=_Formatter, **settings)
        self.verb = verb
        self.set_defaults(result=None)

    def add_common(self) -> None:
        """Add what every verb takes; last, so that help begins with the verb's own."""
        self.add_argument(
            "--json",
            action="store_true",
            help="write the result to standard output as JSON, and all else to standard error",
        )
        self.add_argument(
            "--traceback", action="store_true", help="show where in the code an error arose"
        )

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does, after a check of the names; options may come between arguments."""
        words = renamed(self.verb, list(sys.argv[1:] if args is None else args))
        known = self._option_string_actions
        for word in words:
            name = word.partition("=")[0]
            if word == "--":
                break
            if name.startswith("--") and not any(option.startswith(name) for option in known):
                hint = did_you_mean(name, known)
                self.error(f"no option {name}{hint}; mgf {self.verb} --help lists all")
        if super().parse_known_intermixed_args(words)[1]:
            words = renamed(self.verb, words, spare=True)
        return super().parse_intermixed_args(words, namespace)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        choices = [str(choice) for choice in action.choices or ()]
        if action.choices is not None and value not in action.choices:
            hint = did_you_mean(value, choices)
            there = ", ".join(choices)
            raise argparse.ArgumentError(action, f"no {value!r}{hint}; choose from {there}")


def renamed(verb: str, words: list[str], spare: bool = False) -> list[str]:
    """Put new names in the place of old ones, with a note on standard error.

    Args:
        verb: whose words they are.
        words: the command line after it.
        spare: whether they hold a word more than the verb takes.
    """
    for number, word in enumerate(words):
        name, sign, value = word.partition("=")
        following = next(iter(words[number + 1 : number + 2]), "-")
        valued = bool(sign) or (spare and not following.startswith("-"))
        for change in RENAMED:
            if (verb, name) == change[:2] and (valued or not change.flag):
                words[number] = f"{change.new}{sign}{value}"
                print(
                    f"mgf {verb}: note: {name} is called {change.new} now; the old name works in "
                    "this version for the last time",
                    file=sys.stderr,
                )
    return words


def no_verb(parser: argparse.ArgumentParser, verb: str, verbs: Sequence[str]) -> NoReturn:
    """Refuse an unknown verb, with the nearest one."""
    parser.error(f"no verb {verb!r}{did_you_mean(verb, verbs)}: choose from {', '.join(verbs)}")


# ---- lists


def names(given: str | Sequence[str]) -> list[str]:
    """``3,last`` or ``3 last`` -> the words."""
    given = [given] if isinstance(given, str) else given
    return [word.strip() for text in given for word in text.split(",") if word.strip()]


def numbers(option: str, given: str | Sequence[str]) -> tuple[int, ...]:
    """``1,2,3`` or ``1 2 3`` -> different whole numbers; others raise ValueError."""
    words = names(given)
    values = tuple(int(word) for word in words if word.isdecimal())
    if not words or len(values) < len(words) or len(set(values)) < len(values):
        text = given if isinstance(given, str) else " ".join(given)
        raise ValueError(f"{option} {text}: expected different whole numbers, as in 1,2,3")
    return values


def one_of(option: str, given: str | Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Words that are all known, each once; others raise ValueError with the nearest."""
    words = tuple(dict.fromkeys(names(given)))
    for word in words:
        if word not in known:
            hint = did_you_mean(word, known)
            raise ValueError(f"{option} {word}: no such name{hint}; choose from {', '.join(known)}")
    if not words:
        raise ValueError(f"{option} is empty: choose from {', '.join(known)}")
    return words


def add_layers(add: Add, unless: str = "all") -> None:
    """``--layers``: which hidden states."""
    add(
        "--layers",
        nargs="+",
        metavar="L,L",
        help="layers by number: 0 is the Transformer's input, `last` its top, as in 0,3,last "
        f"(default: {unless})",
    )


def add_seeds(add: Add, option: str, default: str, what: str) -> None:
    """An option that holds seeds."""
    add(option, nargs="+", default=default, metavar="N,N", help=what)


# ---- checkpoints


def add_checkpoint(add: Add, baselines: bool = False, many: bool = False) -> None:
    """``--checkpoint``: a file, or the folder of a run; with `baselines` all that has features."""
    settings: dict[str, Any] = {"nargs": "+"} if many else {}
    what = (
        "checkpoint file or folder of its run (MGF, fairseq wav2vec 2.0 or HuBERT; pre-trained or "
        "fine-tuned), or fbank, mfcc, random:CK, random:CK@SEED"
        if baselines
        else "checkpoint file, or folder of its run"
    )
    add("--checkpoint", required=True, metavar="CK", help=what, **settings)


def checkpoint_of(spec: str) -> str:
    """The spec with a run's folder replaced by the file in it that is read, which is said."""
    from ..checkpoints.reading import find_checkpoint

    fresh = FreshWeights.parse(spec)
    path = fresh.path if fresh else spec
    if path in ("fbank", "mfcc") or not Path(path).is_dir():
        return spec
    file = find_checkpoint(path)
    print(f"{path}: reading {file.name}", file=sys.stderr)
    return str(replace(fresh, path=str(file)) if fresh else file)


def add_recordings(add: Add) -> None:
    """``CK`` and ``INPUT ...``: a fine-tuned checkpoint and what it is applied to."""
    add("checkpoint", metavar="CK", help="fine-tuned checkpoint, or folder of its run")
    add(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="audio file, folder of audio files, manifest (.tsv), or - for standard input",
    )


def add_user_dir(add: Add) -> None:
    """``--user-dir``: a package of the user's, as fairseq's common.user_dir."""
    add(
        "--user-dir",
        type=Path,
        metavar="PACKAGE",
        help="folder of a package of yours that registers objectives, as common.user_dir "
        "(default: none)",
    )


# ---- where and how to compute


def add_device(add: Add) -> None:
    """``--device``."""
    add("--device", metavar="DEVICE", help="cpu, cuda or cuda:N (default: cuda if there is one)")


def add_batch_seconds(add: Add, default: float = 60.0) -> None:
    """``--batch-seconds``."""
    what = "padded audio per batch, in seconds"
    add("--batch-seconds", type=float, default=default, metavar="S", help=what)


def require_positive(args: argparse.Namespace, *options: str) -> None:
    """Raise ValueError for an option of these (`batch_seconds`) that is not above 0."""
    for name in options:
        if getattr(args, name) <= 0:
            option = name.replace("_", "-")
            raise ValueError(f"--{option} {getattr(args, name):g} must be above 0")


def device_of(given: str | None) -> str:
    """The device to compute on.

    Raises:
        ValueError: it is not there.
    """
    import torch

    cuda = torch.cuda.is_available()
    if given is None:
        return "cuda" if cuda else "cpu"
    found = re.fullmatch(r"(cpu|cuda|mps)(?::(\d+))?", given)
    if not found:
        raise ValueError(f"--device {given}: no such device; give cpu, cuda or cuda:N")
    if found[1] == "cuda" and not cuda:
        raise ValueError(f"--device {given}: no CUDA device is visible here; use --device cpu")
    if found[1] == "mps" and not torch.backends.mps.is_available():
        raise ValueError(f"--device {given}: no Apple GPU is visible here; use --device cpu")
    if found[1] == "cuda" and int(found[2] or 0) >= (count := torch.cuda.device_count()):
        raise ValueError(f"--device {given}: there are {count} here, counted from cuda:0")
    return given


def prepare_libraries(args: argparse.Namespace) -> None:
    """Make fairseq and torch say only what a user can act on, and import ``--user-dir``."""
    quiet_libraries()
    if args.user_dir is not None:
        from ..host.user_packages import import_package

        import_package(args.user_dir)


def quiet_libraries() -> None:
    """Make fairseq and torch say only what a user can act on; before they are imported."""
    import logging
    import warnings

    logging.basicConfig(level=logging.WARNING)  # one of fairseq's files sets the root to DEBUG
    logging.getLogger("fairseq").setLevel(logging.WARNING)
    # fairseq's positional convolution uses torch's older weight norm; its state dict needs it.
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.nn.utils.weight_norm")
