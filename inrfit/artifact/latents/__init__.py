"""The code of wavelet coefficients: contexts.py, what is known of a coefficient before it is decoded; network.py, the
shipped network that tells its distribution from that; integer_wavelets.py, low bands in integers."""
