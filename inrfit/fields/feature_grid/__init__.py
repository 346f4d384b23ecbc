"""Feature grids: feature_grid.py, the architecture, and its parts."""
