"""Benchmarks: the reports' tables, of a run or an export, offline and with error bars."""
