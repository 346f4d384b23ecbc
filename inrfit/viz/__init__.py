"""Pictures of a fit: ``recorder.py`` counts how often each sample is trained, ``views.py`` draws each signal."""
