"""Benches: the gateway beside the best plain code for the same job, in the same run, in turns.

`python -m bench.ingest`, `bench.fanout`, `bench.latency`, `bench.analyze`. Linux only: they pin processes to cores.
Each prints a table and, as its last line, one JSON object; what ends in `_ratio` there is the gateway over the plain
code, higher is better, 1.0 is as good. docs/numbers.md holds what they gave.
"""
