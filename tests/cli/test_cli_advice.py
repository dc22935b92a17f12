"""Every option and key that a message names exists where it is said."""

import argparse
import ast
import dataclasses
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fairseq.criterions.ctc import CtcCriterionConfig
from fairseq.dataclass import configs
from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config
from fairseq.models.wav2vec.wav2vec2_asr import Wav2Vec2CtcConfig
from fairseq.optim.adam import FairseqAdamConfig
from fairseq.tasks.audio_finetuning import AudioFinetuningConfig
from fairseq.tasks.hubert_pretraining import HubertPretrainingConfig

import mgf_fairseq
from mgf_fairseq.baselines.acoustic_model import AcousticModelConfig
from mgf_fairseq.cli import VERBS
from mgf_fairseq.cli.options import RENAMED
from mgf_fairseq.criterion import MgfCriterionConfig
from mgf_fairseq.data.config import MgfPretrainingConfig
from mgf_fairseq.evaluation.labeled import prepare_command
from mgf_fairseq.host.layer_decay import LayerDecayAdamConfig
from mgf_fairseq.model import MgfConfig

PACKAGE = Path(mgf_fairseq.__file__).parent
HOLE = "\0"  # in place of what an f-string fills in
NO_MESSAGES = ("report/page/style.py", "report/figures/theme.py")  # CSS
# Whose messages a part of the package writes, longest prefix first; elsewhere an option must come
# behind the command that has it.
SPEAKER = {
    **{f"cli/{module}.py": verb for verb, (module, _) in VERBS.items()},
    "cli/layer_table.py": "evaluate",
    "cli/class_table.py": "score",
    "cli/open_corpora.py": "prepare",
    "evaluation/": "evaluate",
    "report/": "report",
    **dict.fromkeys(("evaluation/finetuning/score.py", "evaluation/finetuning/tune.py"), "score"),
    **dict.fromkeys(("cli/decoding_options.py", "cli/plain.py"), "score"),
    "cli/training.py": "pretrain",
    **dict.fromkeys(("checkpoints/average.py", "checkpoints/interpolate.py"), "average"),
    "units/": "units",
    "check/": "check",
    "prepare/": "prepare",
    "prepare/shards.py": "shard",
    "prepare/packing.py": "shard",
    **dict.fromkeys(("data/label_format.py", "data/caveats.py", "data/prepared.py"), "prepare"),
    "inference/": "score",
    "train/": "finetune",
    "export/": "export",
    "export/importing.py": "import",
    "export/imported_heads.py": "import",
    "releases/": "models",
    "extract/": "extract",
    # Shared by the verbs that read checkpoints, of which this is one.
    **dict.fromkeys(("cli/options.py", "host/user_packages.py", "objectives/base.py"), "extract"),
    # Shared by the verbs that read fine-tuned models, all of which have its option.
    "checkpoints/symbols.py": "transcribe",
    "monitoring/health.py": "health",
}
# Options of other programs, which are said behind their names.
PROGRAMS = {
    "fairseq-hydra-train": {"--config-dir", "--config-name", "--multirun", "--help"},
    "pip": {
        *("--no-build-isolation", "--force-reinstall", "--no-deps", "--upgrade", "--no-binary"),
    },
    "docker": {"--shm-size", "--ipc"},
    "git": set(),
    "sha256sum": {"--check"},
}
GROUPS = {
    "common": [configs.CommonConfig],
    "distributed_training": [configs.DistributedTrainingConfig],
    "dataset": [configs.DatasetConfig],
    "optimization": [configs.OptimizationConfig],
    "checkpoint": [configs.CheckpointConfig],
    "task": [MgfPretrainingConfig, AudioFinetuningConfig, HubertPretrainingConfig],
    "model": [MgfConfig, AcousticModelConfig, Wav2Vec2Config, Wav2Vec2CtcConfig],
    "criterion": [MgfCriterionConfig, CtcCriterionConfig],
    "optimizer": [FairseqAdamConfig, LayerDecayAdamConfig],
}
WORD = re.compile(
    rf"(?<![\w-])(?:(mgf) ([a-z][a-z-]*)|({'|'.join(PROGRAMS)})|(--[a-z][a-z-]+))(?![\w-])"
)
KEY = re.compile(rf"(?<![\w.])({'|'.join(GROUPS)})\.([a-z_]\w*)(?:\.[\w.]*)?=")


def messages(tree: ast.AST) -> Iterator[str]:
    """The string literals of a module, with those of f-strings put together."""
    inside: set[int] = set()  # parts of f-strings
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            inside |= {id(part) for part in ast.walk(node) if part is not node}
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else HOLE for part in node.values
            )
        elif isinstance(node, ast.Constant) and id(node) not in inside:
            yield node.value if isinstance(node.value, str) else ""


def options_of(verb: str) -> set[str]:
    """All options of a verb's parser."""
    module = importlib.import_module(f"mgf_fairseq.cli.{VERBS[verb][0]}")
    parser = argparse.ArgumentParser(prog=verb)
    module.add_arguments(parser)
    own = {name for action in parser._actions for name in action.option_strings}
    earlier = {change.old for change in RENAMED if change.verb == verb}
    return own | earlier | {"--help", "--traceback", "--json"}


OPTIONS = {verb: options_of(verb) for verb in VERBS}
FILES = [path.relative_to(PACKAGE).as_posix() for path in sorted(PACKAGE.rglob("*.py"))]


def named(option: str, verb: str) -> bool:
    """Whether a verb takes an option by this name, which argparse lets one shorten."""
    return any(known.startswith(option) for known in OPTIONS[verb])


def wrong_options(text: str, speaker: str | None) -> list[str]:
    """Options of a message that neither the command before them nor the speaking verb has."""
    if re.fullmatch(r"--[a-z-]+(=\S*)?", text):
        return []  # the definition of an option, or an argument of another program
    command: str | None = None
    program: str | None = None
    wrong = []
    # `fairseq-hydra-train --config-dir $(mgf configs) --config-name`: the last is not of mgf.
    for found in WORD.finditer(re.sub(r"\$\(mgf [^)]*\)", "", text)):
        if found[1]:
            command, program = (found[2], None) if found[2] in VERBS else (None, None)
        elif found[3]:
            command, program = None, found[3]
        elif not (
            (program and found[4] in PROGRAMS[program])
            or any(verb and named(found[4], verb) for verb in (command, speaker))
        ):
            wrong.append(found[4])
    return wrong


@pytest.mark.parametrize("name", [name for name in FILES if name not in NO_MESSAGES])
def test_every_option_that_a_message_names_exists_where_it_is_said(name):
    prefix = max((p for p in SPEAKER if name.startswith(p)), key=len, default="")
    tree = ast.parse((PACKAGE / name).read_text())
    speaker = SPEAKER.get(prefix)
    wrong = {text: found for text in messages(tree) if (found := wrong_options(text, speaker))}
    assert not wrong, f"mgf {speaker or '?'} does not take {wrong}"


@pytest.mark.parametrize("name", FILES)
def test_every_key_that_a_message_names_exists(name):
    known = {
        group: {field.name for config in found for field in dataclasses.fields(config)}
        for group, found in GROUPS.items()
    }
    wrong = [
        f"{group}.{field}"
        for text in messages(ast.parse((PACKAGE / name).read_text()))
        for group, field in KEY.findall(text)
        if field not in known[group]
    ]
    assert not wrong


def test_advice_of_an_option_that_only_another_verb_has_is_found():
    assert wrong_options("leave it out (--split-by)", "evaluate") == ["--split-by"]
    assert wrong_options("mgf prepare --split-by speaker gives it", "evaluate") == []
    assert wrong_options(f"say --ignore {HOLE}", "evaluate") == []
    assert wrong_options("fairseq-hydra-train --dest x", None) == ["--dest"]


def test_the_command_that_writes_labels_exists_as_it_is_put_together():
    assert wrong_options(prepare_command(Path("data"), ["spk", "phn", "lang"]), None) == []
