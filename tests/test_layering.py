"""Who may import what, what library code may not do, and a fifth objective in one place."""

import ast
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import tiny
import torch
from omegaconf import OmegaConf

import mgf_fairseq
from mgf_fairseq import objectives
from mgf_fairseq.criterion import MgfCriterion, MgfCriterionConfig
from mgf_fairseq.model import MgfModel
from mgf_fairseq.objectives import OBJECTIVES, Objective, ObjectiveConfig, register_objective
from mgf_fairseq.objectives.heads import ProjectionHead
from mgf_fairseq.objectives.levels import read_level
from mgf_fairseq.types import ObjectiveOutput

PACKAGE = Path(mgf_fairseq.__file__).parent
FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
TREES = {name: ast.parse((PACKAGE / name).read_text()) for name in FILES}
MAY_IMPORT_FAIRSEQ = {
    "task.py",
    "monitoring/batch_log.py",  # fairseq's meters
    "monitoring/live.py",  # fairseq's meters and iterator
    "model.py",
    "criterion.py",
    "checkpoints/reading.py",
    "checkpoints/symbols.py",  # its dictionary
    "data/config.py",
    "data/dataset.py",
    "export/imported_heads.py",  # its dictionary and the settings of its fine-tuned models
}


def imported(name: str, for_types: bool = True) -> set[str]:
    """Modules that a file of the package imports, absolute, wherever in the file."""
    found: set[str] = set()
    package = ["mgf_fairseq", *name.split("/")[:-1]]
    only_types = {
        inner
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(TREES[name]):
        if node in only_types and not for_types:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            parent = ".".join([*base, *([node.module] if node.module else [])])
            found |= {parent} | {f"{parent}.{alias.name}" for alias in node.names}
    return found


def uses(name: str, package: str) -> bool:
    return any(m == package or m.startswith(f"{package}.") for m in imported(name))


@pytest.mark.parametrize("name", FILES)
def test_only_the_border_files_import_fairseq(name):
    border = name in MAY_IMPORT_FAIRSEQ or name.startswith(
        ("baselines/", "host/", "inference/", "train/")
    )
    assert border or not uses(name, "fairseq")


@pytest.mark.parametrize("name", [name for name in FILES if not name.startswith("cli/")])
def test_the_library_does_not_import_the_command_line(name):
    assert not uses(name, "mgf_fairseq.cli")


@pytest.mark.parametrize("name", FILES)
def test_no_file_imports_torchaudio(name):
    # Its wheel does not load beside a torch without CUDA.
    assert not uses(name, "torchaudio")


@pytest.mark.parametrize("name", FILES)
def test_no_file_evaluates_text_or_imports_a_star(name):
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"eval", "exec"}
            assert node.func.id != "print" or name.startswith("cli/")
        if isinstance(node, ast.ImportFrom):
            assert all(alias.name != "*" for alias in node.names)


# Lowest first: a file imports from its own folder and from those before it.
ORDER = [
    *(
        "utils",
        "environment",
        "types",
        "configs",
        "acoustics",
        "losses",
        "encoder",
        "objectives",
        "data",
    ),
    *("prepare", "check", "checkpoints", "monitoring", "host", "launching", "model", "criterion"),
    *(
        "task",
        "baselines",
        "plugin",
        "extract",
        "upstream",
        "inference",
        "train",
        "evaluation",
        "export",
        "releases",
    ),
    *("units", "report", "cli"),
]
# Inside functions: a process that fairseq has not set up imports the plugin itself.
UPWARD = {("host/launcher.py", "plugin"), ("host/user_packages.py", "plugin")}
MODULES = {name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in FILES}


def folder(module: str) -> str:
    return module.split(".")[0]


def own_imports(name: str, for_types: bool = True) -> set[str]:
    """Modules of the package that a file of it imports."""
    prefix, found = "mgf_fairseq.", imported(name, for_types)
    return {m.removeprefix(prefix) for m in found if m.startswith(prefix)} & MODULES


@pytest.mark.parametrize("name", [name for name in FILES if name != "__init__.py"])
def test_a_folder_imports_only_from_those_before_it(name):
    allowed = ORDER[: ORDER.index(folder(name.removesuffix(".py").replace("/", "."))) + 1]
    upward = {module for module in own_imports(name) if folder(module) not in allowed}
    assert {(name, module) for module in upward} <= UPWARD


def test_modules_import_each_other_in_no_circle():
    graph = {
        name.removesuffix(".py").removesuffix("/__init__").replace("/", "."): own_imports(
            name, for_types=False
        )
        for name in FILES
        if name != "__init__.py"
    }
    for name, module in UPWARD:
        graph[name.removesuffix(".py").replace("/", ".")].discard(module)
    for module, used in graph.items():
        used.discard(module)  # `from . import x` in x's own package
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize("name", FILES)
def test_imports_within_the_package_are_relative(name):
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.ImportFrom):
            assert node.level or folder(node.module) != "mgf_fairseq", ast.unparse(node)


def test_the_criterion_names_no_objective():
    words = {
        node.value for node in ast.walk(TREES["criterion.py"]) if isinstance(node, ast.Constant)
    }
    assert not words & {"sample", "frame", "phoneme", "utterance"} - {"sample"}
    # "sample" is fairseq's word for a batch; no comparison with a name either way.
    compared = [n for n in ast.walk(TREES["criterion.py"]) if isinstance(n, ast.Compare)]
    assert not any("name" in ast.unparse(n.left) for n in compared)


# ---- a fifth objective


@pytest.fixture
def loudness():
    """An objective that is registered for the length of a test."""

    class LoudnessObjective(Objective):
        """Predict the mean square of each row from its mean context; in the form of 0.1."""

        name = "loudness"
        config_type = ObjectiveConfig

        def __init__(self, config, shape):
            super().__init__(config, shape)
            self.head = ProjectionHead(shape.embed_dim, 1)

        def target(self, encoded, batch):
            return batch.waveform.square().mean(dim=1)

        def predict(self, encoded, batch):
            return self.head(read_level(encoded, self.level).mean(dim=1)).squeeze(1)

        def compare(self, prediction, target, encoded, batch):
            loss = (prediction - target).square().sum()
            return ObjectiveOutput(loss, loss.new_tensor(float(len(target))))

    register_objective(LoudnessObjective)
    yield LoudnessObjective
    del OBJECTIVES["loudness"]


def test_a_fifth_objective_trains_and_strips_with_no_edit_elsewhere(loudness):
    task = tiny.tiny_task()
    config = tiny.tiny_model_config(["frame"])
    config.objectives["loudness"] = {"level": "50%"}
    model = tiny.build_model(task, config)
    weights = {"frame": 1.0, "loudness": 0.5}
    criterion = MgfCriterion(MgfCriterionConfig(loss_weights=weights, sample_rate=16000), task)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    loss, _, log = criterion(model, tiny.tiny_sample(range(4)))
    loss.backward()
    optimizer.step()
    assert log["count:loss_loudness"] == 4
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert any(name.startswith("objectives.loudness.") for name in moved)
    assert "feature_extractor.conv_layers.0.0.weight" in moved

    stripped = tiny.build_model(task, config)
    stripped.remove_pretraining_modules()
    stripped.load_state_dict(model.state_dict(), strict=True)
    assert not any(name.startswith("objectives") for name in stripped.state_dict())
    source = tiny.tiny_sample([0])["net_input"]["source"].float()
    with torch.no_grad():
        features = [m.eval().extract_features(source, None)["x"] for m in (model, stripped)]
    assert torch.equal(*features)


def test_a_head_of_no_imported_package_is_skipped_in_a_checkpoint_and_refused_in_training(
    loudness, caplog
):
    task = tiny.tiny_task()
    config = OmegaConf.create({**vars(tiny.tiny_model_config(["frame"])), "_name": "mgf"})
    config.objectives["loudness"] = {"level": "50%"}
    held = task.build_model(config).state_dict()
    OmegaConf.set_readonly(config, True)  # as a checkpoint's is
    del OBJECTIVES["loudness"]
    try:
        with pytest.raises(ValueError, match=r"'loudness'.*common.user_dir=PACKAGE.*--user-dir"):
            task.build_model(config)
        model = task.build_model(config, from_checkpoint=True)  # as fine-tuning does
    finally:
        OBJECTIVES["loudness"] = loudness
    assert set(model.objectives) == {"frame"} and "loudness" in config.objectives
    assert caplog.text.count("the head of 'loudness'") == 1
    model.remove_pretraining_modules()
    model.load_state_dict(held, strict=True)


def test_a_file_in_the_folder_of_objectives_is_all_that_a_fifth_needs(tmp_path, monkeypatch):
    (tmp_path / "flux.py").write_text(
        "from mgf_fairseq.objectives.base import Objective, register_objective\n"
        "from mgf_fairseq.objectives.config import ObjectiveConfig\n"
        "@register_objective\nclass Flux(Objective):\n"
        "    name, config_type = 'flux', ObjectiveConfig\n"
    )
    monkeypatch.setattr(objectives, "__path__", [*objectives.__path__, str(tmp_path)])
    try:
        objectives.import_all()
        assert OBJECTIVES["flux"].__module__ == "mgf_fairseq.objectives.flux"
    finally:
        OBJECTIVES.pop("flux", None)
        sys.modules.pop("mgf_fairseq.objectives.flux", None)


def test_a_name_that_is_taken_is_refused(loudness):
    class Other(Objective):
        name = "loudness"
        config_type = ObjectiveConfig

    with pytest.raises(ValueError, match="'loudness' is registered already"):
        register_objective(Other)


@pytest.mark.parametrize(
    ("objectives", "named"),
    [
        ({"phonem": {}}, "did you mean 'phoneme'"),
        ({"utterances": {}}, "did you mean 'utterance'"),
        ({"phoneme": {"num_negative": 3}}, "did you mean 'num_negatives'"),
        ({"sample": {"segment_frame": 3}}, "did you mean 'segment_frames'"),
        ({"frame": {"frames": "visable"}}, "visable"),
        ({"frame": {"level": "3"}}, "level='3'"),
        ({"phoneme": {"num_negatives": "many"}}, "num_negatives='many'"),
        ({"phoneme": {"num_negatives": 2.5}}, "num_negatives=2.5"),
    ],
)
def test_an_unknown_objective_or_a_misspelled_key_names_the_nearest(objectives, named):
    with pytest.raises(ValueError, match=named):
        MgfModel(tiny.tiny_model_config([], objectives=objectives))
