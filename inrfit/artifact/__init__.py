"""The saved file: artifact.py; container.py, its bytes distrusted; weight_dtypes.py; provenance.py."""
