"""A fit made visible: recorder.py watches it, views.py says how each kind of signal is shown."""
