"""Tiled SIRENs: tiles.py, the architecture; partition.py, which tile a point is in."""
