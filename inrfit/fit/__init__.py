"""One optimisation: loop.py is the only training loop; the rest is what it works with."""
