"""The documentation says what the program does."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_the_documentation_is_true():
    loader = importlib.util.spec_from_file_location("check", ROOT / "docs" / "check.py")
    check = importlib.util.module_from_spec(loader)
    loader.loader.exec_module(check)
    assert check.problems() == []
