"""Samplers and architectures side by side: spec.py, what; session.py, the runs; statistics.py, what they show."""
