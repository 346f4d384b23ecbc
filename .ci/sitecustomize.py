"""Starts coverage in every Python process of .ci/run; COVERAGE_PROCESS_START names its settings."""

import contextlib

with contextlib.suppress(ImportError):
    import coverage

    coverage.process_startup()
