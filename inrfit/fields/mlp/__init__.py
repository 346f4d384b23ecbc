"""Multilayer perceptrons: mlp.py, what they share; one file an activation."""
