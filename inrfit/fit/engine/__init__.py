"""How one optimiser step is made on a device: step.py chooses, the other files are the ways."""
