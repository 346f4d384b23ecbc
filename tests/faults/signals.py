"""SIGINT and SIGTERM at random moments of whole command lines, with busy processes beside them.

    python tests/faults/signals.py --count 100 --busy 4 --seed 0

Every command ends within two seconds of the signal with 130 or 143 (or had ended before), without a traceback; an
output is the old one, a complete one, or not there. Before the interpreter has come to inrfit, Python's own handling of
signals holds.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from made_files import pixels, samples
from workbench import Report, Verdict, chance, parser

SECONDS = 2.0
"""Longest time from the signal to the end."""

INTERPRETER_SECONDS = 1.0
"""Until then the interpreter may not have come to ``inrfit.__main__``; a signal then ends it as any Python program, or
ends the import of ``site`` with exit code 1."""

OLD = b"what was here before"
COMMANDS = {
    "encode": (["encode", "photo.png", "-o", "photo.safetensors", "--budget", "60s", "--force"], "photo.safetensors"),
    "encode a sound": (
        ["encode", "tone.wav", "-o", "tone.safetensors", "--budget", "60s", "--force"],
        "tone.safetensors",
    ),
    "decode": (["decode", "kept.safetensors", "-o", "new.png", "--size", "4000x4000", "--force"], "new.png"),
    "compare": (["compare", "photo.png", "-o", "comparison", "--budget", "20s", "--seeds", "1"], ""),
}


def sources(folder: Path) -> None:
    """A picture, a sound, and a field that is large enough for a decoding of some seconds."""
    import soundfile
    from PIL import Image

    Image.fromarray(pixels(300, 400)).save(folder / "photo.png")
    soundfile.write(folder / "tone.wav", samples(40_000), 8000)
    made = [sys.executable, "-m", "inrfit", "encode", "photo.png", "-o", "kept.safetensors", "--budget", "30it", "-q"]
    subprocess.run(made, cwd=folder, check=True)


def signalled(folder: Path, words: list[str], number: int, moment: random.Random) -> tuple[float, float, Verdict]:
    """When the signal came, how long the command went on, and how it ended. The moments lie within the first eight
    seconds, the early ones more closely."""
    after = 8 * moment.random() ** 2
    command = [sys.executable, "-m", "inrfit", *words]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        process.send_signal(number)
    begun = time.monotonic()
    try:
        out, err = process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
    ended = time.monotonic() - begun
    return after, ended, Verdict(process.returncode, ended, out, err)


def problem_of(folder: Path, output: str, number: int, after: float, verdict: Verdict) -> str | None:
    """What is wrong with how a command ended, to which a signal was sent ``after`` so many seconds."""
    ended_by_interpreter = verdict.code == -number or (verdict.code == 1 and "inrfit/" not in verdict.err)
    if ended_by_interpreter and after < INTERPRETER_SECONDS:
        return None
    if "Traceback" in verdict.err:
        return f"a traceback: {verdict.err.strip()[-400:]}"
    if verdict.code not in (0, 128 + number):
        return f"exit code {verdict.code}: {verdict.err.strip()[-400:]}"
    if verdict.seconds > SECONDS:
        return f"{verdict.seconds:.1f} s from the signal to the end"
    if output and (data := (folder / output).read_bytes()) != OLD and verdict.code:
        return f"an interrupted command has replaced {output}: {data[:40]!r}"
    left = [path.name for path in folder.iterdir() if "inrfit-tmp" in path.name]
    return f"leaves {left}" if left else None


def main() -> None:
    """The loop."""
    options = parser(__doc__, 100)
    options.add_argument("--busy", type=int, default=4, help="Number of busy processes beside the commands.")
    given = options.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # commands in the background of a shell ignore it
    report = Report("signals", given.seed)
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        sources(folder)
        busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(given.busy)]
        try:
            for case in range(given.count) if given.only is None else [given.only]:
                name, (words, output) = list(COMMANDS.items())[case % len(COMMANDS)]
                random = chance(given.seed, case)
                number = random.choice((signal.SIGINT, signal.SIGTERM))
                if output:
                    (folder / output).write_bytes(OLD)
                after, _, verdict = signalled(folder, words, number, random)
                problem = problem_of(folder, output, number, after, verdict)
                report.add(case, f"{name}, {number.name} after {after:.2f} s", verdict, problem)
        finally:
            for process in busy:
                process.kill()
                process.wait()
    report.end()


if __name__ == "__main__":
    main()
