"""A folder is written by one process at a time, and the lock ends with the process."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from inrfit.errors import UsageError
from inrfit.io.locks import locked_folder

HOLD = """
import sys, time
from inrfit.io.locks import locked_folder
with locked_folder(sys.argv[1]):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_the_second_process_is_refused_until_the_first_one_is_dead(tmp_path):
    first = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert first.stdout.readline() == "locked\n"
    with pytest.raises(UsageError, match="another inrfit is writing into this folder"), locked_folder(tmp_path):
        pass
    first.send_signal(signal.SIGKILL)
    first.communicate()
    with locked_folder(tmp_path):
        pass


def test_without_a_folder_there_is_no_lock(tmp_path):
    with locked_folder(None), locked_folder(tmp_path / "missing"):
        pass
