"""Seconds and memory of the library, alone and against other libraries."""
