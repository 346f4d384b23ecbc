"""What is decided before torch is imported: settings.py (validated input), plan.py (the resolved plan of a fit),
auto.py (choices for auto), sizing.py (sizes for a number of weights or bytes), identity.py (what identifies a fit)."""
