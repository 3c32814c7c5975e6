"""Matrix products of a trace: what types each linear's are, forward and back."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.null_gpu.programs.linears import BACKWARD

TYPES = {0: "fp32", 2: "fp16", 14: "bf16", 28: "e4m3", 29: "e5m2"}
"""``cudaDataType``."""


@dataclass(frozen=True)
class Product:
    """What is multiplied, in the order of the alphabet, and what comes of it."""

    operands: tuple[str, str]
    result: str


def products_by_linear(trace: Path) -> dict[tuple[str, bool], set[Product]]:
    """Return the kinds of products by linear, and by whether they are of the backward pass."""
    found: dict[tuple[str, bool], set[Product]] = defaultdict(set)
    for line in trace.read_text().splitlines():
        entry: dict[str, Any] = json.loads(line)
        if "gemm" in entry and entry["phase"]:
            name = entry["phase"].removesuffix(BACKWARD)
            first, second = sorted((TYPES[entry["a"]], TYPES[entry["b"]]))
            found[name, name != entry["phase"]].add(Product((first, second), TYPES[entry["d"]]))
    return found
