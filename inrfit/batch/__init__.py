"""Many files: a plan of rows (manifest.py, plan.py), parts that are fitted and written whole (part_job.py), workers
(local.py), and the data set that comes of it (dataset.py)."""
