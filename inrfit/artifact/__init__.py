"""The saved file: artifact.py (the artifact), container.py (parsing untrusted bytes), weight_dtypes.py (number types of
weights), file_size.py (its size before the fit), provenance.py (how it was made)."""
