"""``python -m tests.support.warm_node ADDRESS``: one machine's server of warm programs, until a signal ends it."""

from __future__ import annotations

import signal
import sys

from tests.support.warm_path import serving

if __name__ == "__main__":
    with serving(sys.argv[1]):
        signal.pause()
