"""Perceptrons by compiled code of our own: residuals, gradients and values on the CPU, within one core's cache.

``src/`` is the C++ code, once for each instruction set, which ``build.py`` compiles when the package is built.
``library.py`` loads it, ``perceptron.py`` calls it. Without it everything works, by torch, and slower.
"""
