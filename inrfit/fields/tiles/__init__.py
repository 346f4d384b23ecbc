"""Tiled SIRENs: tiles.py, the architecture; partition.py, the tiles of each point."""
