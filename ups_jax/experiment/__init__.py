"""One run and its record: configuration, pipeline, tracking, checkpoints, gates, report."""
