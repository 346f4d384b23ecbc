"""Optimiser steps on a device. Read ``step.py`` first."""
