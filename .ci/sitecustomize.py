"""Starts coverage in the Python processes of .ci/run that have COVERAGE_PROCESS_START, which names its settings."""

import contextlib
import os

if "COVERAGE_PROCESS_START" in os.environ:
    with contextlib.suppress(ImportError):
        import coverage

        coverage.process_startup()
