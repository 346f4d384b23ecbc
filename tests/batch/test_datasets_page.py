"""docs/datasets.md, from pictures to a classifier, as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "datasets.md"


@pytest.mark.slow
def test_the_classifier_of_the_page_reads_digits_from_weights(tmp_path):
    page = PAGE.read_text("utf-8")
    scripts = dict(re.findall(r"^`(\w+\.py)`:\n\n(?:<!--[^\n]*\n)?```python\n(.*?)^```", page, re.M | re.S))
    command = next(line for line in page.splitlines() if line.startswith("inrfit batch run ds digits.jsonl"))
    assert sum(text.count("\n") for text in scripts.values()) <= 40
    for name, text in scripts.items():
        (tmp_path / name).write_text(text)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(PAGE.parents[1]), *filter(None, sys.path)])}
    for words in (["digits.py"], ["-m", *command.split(), "-q"], ["classify.py"]):
        done = subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[0]) > 0.5  # chance is 0.1
