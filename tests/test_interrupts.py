"""A command ends within two seconds after a signal, whatever it does."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

BEGIN = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it
from inrfit import interrupts
interrupts.leave_on_signals()
"""

WORK = {
    "nothing special": "print('ready', flush=True); time.sleep(60)",
    "a fit that does not look": """
with interrupts.stop_on_signals(interrupts.SIGNALS):
    print('ready', flush=True)
    time.sleep(60)
""",
    "an import": """
with interrupts.stop_on_signals(interrupts.SIGNALS) as stop:
    try:
        with stop.interrupting_reads():
            print('ready', flush=True)
            time.sleep(60)
    except KeyboardInterrupt:
        sys.exit(stop.exit_code)
""",
}


def end_of(script: str, *signals: int) -> tuple[int, float, str, str]:
    """Exit code, seconds from the first signal to the end, and output of ``script``."""
    words = [sys.executable, "-c", BEGIN + script]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    sent_at = time.monotonic()
    for number in signals:
        process.send_signal(number)
        time.sleep(0.1)
    output, errors = process.communicate(timeout=30)
    return process.returncode, time.monotonic() - sent_at, output, errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("work", WORK)
def test_a_signal_ends_the_process(work, number):
    code, seconds, _, errors = end_of(WORK[work], number)
    assert code == 128 + number
    assert seconds < 10  # the promise of two seconds is measured by tests/faults
    assert "Traceback" not in errors


def test_the_second_signal_ends_what_the_first_one_does_not():
    code, _, _, errors = end_of(WORK["a fit that does not look"], signal.SIGINT, signal.SIGTERM)
    assert code == 128 + signal.SIGTERM
    assert errors == "inrfit: error: interrupted\n"


@pytest.mark.parametrize("old", [None, b"old"])
@pytest.mark.parametrize("busy", ["time.sleep(60)", "signal.pthread_sigmask(signal.SIG_BLOCK, {15}); time.sleep(60)"])
def test_an_output_that_takes_long_is_given_up_and_removed(tmp_path, old, busy):
    if old is not None:
        (tmp_path / "a").write_bytes(old)
    script = f"""
from inrfit.io import files

def produce(file):
    file.write(b"half")
    print("ready", flush=True)
    {busy}

files.write_with({str(tmp_path / "a")!r}, produce, force=True)
"""
    code, seconds, _, errors = end_of(script, signal.SIGTERM)
    assert (code, errors) == (143, "inrfit: error: interrupted\n")
    assert seconds < 10
    assert [path.read_bytes() for path in tmp_path.iterdir()] == ([] if old is None else [old])


def test_an_output_is_finished_first():
    script = """
with interrupts.finishing_output():
    print('ready', flush=True)
    time.sleep(2.5)
    print('written', flush=True)
print('more')
"""
    code, _, output, errors = end_of(script, signal.SIGTERM)
    assert (code, output, errors) == (143, "written\n", "inrfit: error: interrupted\n")
