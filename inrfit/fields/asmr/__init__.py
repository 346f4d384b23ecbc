"""The ASMR architecture (asmr.py) and its parts."""
