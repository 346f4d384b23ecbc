"""Comparisons of samplers and architectures at equal budgets: compare.py (the Python function), spec.py (what is
compared), runs.py (all runs), single_run.py (one run), quality_trace.py, statistics.py and plot.py (the results)."""
