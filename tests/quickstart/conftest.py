"""The quickstart's modules lie beside its script, not in a package."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "examples" / "quickstart"))
