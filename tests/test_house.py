"""How the package and its tests are laid out: sizes, docstrings, words, and who tests what."""

import ast
import re
from pathlib import Path

import pytest

import mgf_fairseq

PACKAGE = Path(mgf_fairseq.__file__).parent
TESTS = Path(__file__).parent
ROOT = TESTS.parent
FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
TREES = {name: ast.parse((PACKAGE / name).read_text()) for name in FILES}
TEST_FILES = sorted(path.relative_to(TESTS).as_posix() for path in TESTS.rglob("*.py"))
Function = ast.FunctionDef | ast.AsyncFunctionDef
MOST_LINES, MOST_LINES_OF_A_FUNCTION, MOST_LINES_OF_TESTS = 300, 50, 320

# Folders of tests that belong to no folder of the package.
ACROSS = {
    "compat": "what earlier versions wrote",
    "contract": "what fairseq and users rely on",
    "examples": "the scripts of examples/",
    "fuzz": "random input",
    "gpu": "each kind of work once on a GPU",
    "pages": "the pages of the documentation",
    "quickstart": "examples/quickstart",
    "soak": "a training for hours under faults",
    "training": "whole trainings in processes of their own",
}
# At the top level of tests/: the package as a whole.
WHOLE = {"house", "import", "layering", "readme"}


def functions(name: str) -> list[Function]:
    return [node for node in ast.walk(TREES[name]) if isinstance(node, Function)]


def test_no_file_of_the_package_has_more_than_300_lines():
    lengths = {name: len((PACKAGE / name).read_text().splitlines()) for name in FILES}
    assert not {name: length for name, length in lengths.items() if length > MOST_LINES}


def test_no_function_of_the_package_has_more_than_50_lines():
    lengths = {
        f"{name}: {node.name}": node.end_lineno - node.lineno + 1
        for name in FILES
        for node in functions(name)
    }
    assert not {name: n for name, n in lengths.items() if n > MOST_LINES_OF_A_FUNCTION}


def test_no_file_of_tests_is_much_longer_than_one_of_the_package():
    lengths = {name: len((TESTS / name).read_text().splitlines()) for name in TEST_FILES}
    assert not {name: length for name, length in lengths.items() if length > MOST_LINES_OF_TESTS}


def test_files_of_tests_lie_in_the_folder_of_their_module_and_have_its_name():
    """``test_MODULE.py``, or ``test_FOLDER_MODULE.py`` where a name occurs in two folders.

    Further words may follow the module's; a file about all of a folder begins with the folder's.
    """
    strangers = []
    for name in TEST_FILES:
        path = Path(name)
        if not path.name.startswith("test_") or path.parts[0] in ACROSS:
            continue
        folder = PACKAGE / path.parent
        modules = {p.stem for p in folder.glob("*") if p.suffix == ".py" or p.is_dir()}
        modules |= WHOLE if folder == PACKAGE else {folder.name}
        words = path.stem.removeprefix("test_")
        if not any(words == module or words.startswith(f"{module}_") for module in modules):
            strangers.append(name)
    assert not strangers


def test_names_of_test_files_differ_for_pytest_imports_them_by_name():
    names = [Path(name).name for name in TEST_FILES if not name.endswith("conftest.py")]
    assert not {name for name in names if names.count(name) > 1}


def public(body: list[ast.stmt], prefix: str = "") -> list[tuple[str, ast.AST]]:
    """Classes and functions without an underscore, and the methods of such classes."""
    found: list[tuple[str, ast.AST]] = []
    for node in body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            found.append((prefix + node.name, node))
            if isinstance(node, ast.ClassDef):
                found += public(node.body, f"{prefix}{node.name}.")
    return found


@pytest.mark.parametrize("name", FILES)
def test_every_module_and_everything_public_in_it_has_a_docstring(name):
    assert ast.get_docstring(TREES[name])
    silent = [
        text
        for text, node in public(TREES[name].body)
        if not ast.get_docstring(node) and not any(map(is_overload, node.decorator_list))
    ]
    assert not silent


def is_overload(decorator: ast.AST) -> bool:
    return ast.unparse(decorator) == "overload"


def test_the_files_that_the_guide_for_contributors_names_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"[\w./]+\.(?:py|yaml|sh|md|cff)\b", text))
    named = {name for name in named if "NAME" not in name}
    assert len(named) > 40  # the walks are there
    missing = {name for name in named if not any((at / name).exists() for at in (ROOT, PACKAGE))}
    assert not missing
    (negatives,) = re.findall(r"`(\S+)`, `draw_negatives`", text)
    assert "draw_negatives" in {node.name for node in functions(negatives)}


# ---- words

PRIVATE = r"\bmend(s|ed)?\b|\b(goes|go|went) on\b|\bleft out\b|\btells?\b|\bso kind\b|\bwho wants\b"
BRITISH = (
    r"learnt|misspelt|labelled|neighbour|colour\b|behaviour|favour|catalogue\b"
    r"|(normal|summar|initial|optim|recogn|synthes|quant|organ|serial|minim|maxim)is(e|ed|es|ing|er)\b"
)
PROTOCOL_TEXTS = "evaluation/protocols/"  # parts of the keys of results, so they stay as they are


def test_words_are_those_that_a_colleague_would_use_and_american():
    pattern = re.compile(f"{PRIVATE}|{BRITISH}", re.IGNORECASE)
    found = []
    for name in FILES:
        for number, line in enumerate((PACKAGE / name).read_text().splitlines(), start=1):
            kept = name.startswith(PROTOCOL_TEXTS) and '"' in line
            if pattern.search(line.replace("tell()", "")) and not kept and "def tell" not in line:
                found.append(f"{name}:{number}: {line.strip()}")
    assert not found
