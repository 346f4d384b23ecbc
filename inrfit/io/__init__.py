"""Files, limits, strict JSON and options. Data that is read is checked. Nothing here imports torch."""
