"""What is said of a first word that is no command."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable

from ..errors import UsageError
from ..output_files import FIELD_SUFFIX

OTHER_WORDS = {
    "encode": ("fit", "train", "learn", "compress", "create", "make", "add", "convert"),
    "decode": ("reconstruct", "render", "restore", "decompress", "extract", "export", "save"),
    "info": ("show", "inspect", "describe", "stat", "list", "print", "view"),
    "query": ("ask", "eval", "evaluate", "sample", "crop", "slice", "gradient"),
    "measure": ("check", "verify", "test", "psnr", "quality", "metrics", "diff"),
    "compare": ("bench", "benchmark", "sweep"),
    "batch": ("dataset", "run", "plan", "status", "retry"),
}
"""Words of other programs for what a command does."""


def unknown_command(word: str, program: str, commands: Iterable[str]) -> UsageError:
    """The error for ``word``, given to ``program`` in place of one of its ``commands``, with the one that may have been
    meant."""
    known = list(commands)
    meant = next((name for name in known if word.lower() in OTHER_WORDS.get(name, ())), None)
    if meant is None and os.path.exists(word) and "encode" in known:
        meant = f"{'decode' if word.endswith(FIELD_SUFFIX) else 'encode'} {word}"
    if meant is None:
        meant = next(iter(difflib.get_close_matches(word.lower(), known, 1)), None)
    hint = f"did you mean {program} {meant}?" if meant else f"there are {', '.join(known)}"
    return UsageError(f"no such command: {word}; {hint} (see {program} --help)", "option")
