"""Wavelets: wavelet.py, the architecture; transform.py, the transform of rasters; bands.py, the sizes of its bands."""
