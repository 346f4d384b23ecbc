"""What makes two fits the same fit."""

from __future__ import annotations

from inrfit.config.identity import stored_digest


def test_the_digest_of_the_settings_is_found_by_its_present_and_its_old_key():
    assert stored_digest({"settings_sha256": "new", "seed": 0}) == "new"
    assert stored_digest({"asked_sha256": "old", "seed": 0}) == "old"
    assert stored_digest({"seed": 0}) is None
