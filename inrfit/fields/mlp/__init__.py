"""Multilayer perceptrons: ``mlp.py`` is what they share, the other files are one activation each."""
