"""The code of the coefficients of a lapped cosine transform."""
