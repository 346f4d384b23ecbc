"""Sounds as coefficients of a lapped cosine transform."""
