"""Latency from a table of operator times: lookup, estimates, measuring, architecture search."""
