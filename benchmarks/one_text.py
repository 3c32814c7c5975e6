"""What each step and each tokenizer does to one text, for measuring it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Call = Callable[[str], object]


def step_calls(chosen: Mapping[str, Mapping[str, Any]], work: Path) -> dict[str, Call]:
    """Build the steps, and return by name what each does to a document: of one that compares documents, its first pass.

    Args:
        chosen: the steps' options by name.
        work: an empty folder.

    Raises:
        UserError: as `build_steps`.
    """
    from data_prep.clean.build import build_steps

    steps = build_steps(chosen)
    return {
        **{step.name: _alone(step) for step in steps.alone},
        **{step.name: _first_pass(step.name, chosen[step.name], work) for step in steps.across},
    }


def _alone(step: Any) -> Call:
    from data_prep.input.documents import Document

    return lambda text: step(Document(text, 1, url=text))


def _first_pass(name: str, options: Mapping[str, Any], work: Path) -> Call:
    if name == "exact":
        from data_prep.input.documents import digest

        return digest
    if name == "minhash":
        from data_prep.across.minhash import minhash_config
        from data_prep.across.minhash_signature import Signatures

        signatures = Signatures(work, minhash_config(options))
        return lambda text: _sign(signatures, text)
    from data_prep.semantic.encoder import SentenceEncoder

    encoder = SentenceEncoder(options["encoder"])
    return lambda text: encoder.embed([text])


def _sign(signatures: Any, text: str) -> object:
    shingles = signatures.get_shingles(text)
    return signatures.get_signature(shingles) if shingles.size else None


def tokenizer_calls(library: str, path: Path) -> dict[str, Call]:
    """Load a tokenizer, and return the ways to encode with it."""
    from custom_modules.tokenizer import load_tokenizer
    from custom_modules.tokenizer.fast import FastEncoder, ReferenceEncoder, fast_json, for_newer, why_not_fast

    tokenizer = load_tokenizer(library, path)
    reference = ReferenceEncoder(tokenizer)
    calls: dict[str, Call] = {library: lambda text: reference.encode([text])}
    if why_not_fast(tokenizer, []) is None:
        fast = FastEncoder(fast_json(tokenizer), for_newer(library, path))
        calls[f"{library}, gigatoken"] = lambda text: fast.encode([text])
    return calls
