"""The outside world, distrusted: files, limits, strict JSON, options. No torch."""
