"""Tables of RESULTS.md, README.md and benchmarks/README.md, made from the results files."""
