"""Errors of trained emulators, solvers and recipes."""
