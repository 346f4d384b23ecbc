"""Callbacks of comparisons that do nothing but what a test adds."""

from __future__ import annotations


class QuietCallbacks:
    """All callbacks of ``run_comparison``."""

    def on_codec_start(self, number, total, source, codec):
        pass

    def on_codec_progress(self, fraction):
        assert 0 <= fraction <= 1

    def on_codec_end(self, number, total, result):
        pass

    def on_run_start(self, number, total, run_key):
        pass

    def on_fit_progress(self, report):
        pass

    def on_evaluation_progress(self, fraction):
        pass

    def on_run_end(self, number, total, result):
        pass
