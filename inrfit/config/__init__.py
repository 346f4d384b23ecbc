"""What is asked, and what is decided before torch is needed: settings.py, plan.py, auto.py (choices of ``auto``)."""
