"""The configuration reference is what the dataclasses of the package say."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_what_the_script_writes() -> None:
    sys.path.insert(0, str(ROOT / "examples"))
    try:
        import reference
    finally:
        sys.path.pop(0)
    written = reference.PAGE.read_text(encoding="utf-8")
    assert reference.page() == written, "run: python examples/reference.py"
    for key in ("task.distinct", "model.encoder_layers", "criterion.gradient_shares"):
        assert f"| `{key}` | " in written
    assert "| `model.objectives.phoneme.offsets` | `[0]` | frames of a target" in written
