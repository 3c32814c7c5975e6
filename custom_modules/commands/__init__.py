"""What `danube` does: a module for each command, with its options and what it runs; `table` has them all.

The command line is built of all of them, so at their top they import nothing heavy: each imports what it needs when it
runs, and `danube --help` and `danube plan` answer at once.
"""
