"""Old names of options and of their values: accepted for one release, with a notice."""

from __future__ import annotations

import warnings

from ..errors import InrfitWarning


def renamed(old: str, new: str, what: str) -> str:
    """``new``, after a notice that ``what`` (such as "option" or "value of engine") is no longer called ``old``."""
    warnings.warn(
        f"{what} {old!r} is now called {new!r}; the next release refuses {old!r}", InrfitWarning, stacklevel=2
    )
    return new
