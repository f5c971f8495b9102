"""Faults injected into runs: kills, full disks, races and damaged files."""
