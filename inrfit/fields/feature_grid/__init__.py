"""Feature grids: feature_grid.py, the architecture; interpolation.py, its arithmetic."""
