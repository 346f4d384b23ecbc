"""ASMR: asmr.py, the architecture; the other files are its parts."""
