"""Text from an exported model, by transformers alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from custom_modules.errors import UserError


def sample(source: Path, prompt: str, max_new_tokens: int, seed: int) -> str:
    """Continue a prompt with tokens drawn from the model.

    Args:
        source: a folder that `to_hf` wrote.
        prompt: none starts a document.

    Returns:
        The prompt and what follows it, up to the end of the document.

    Raises:
        UserError: the folder is no such export.
    """
    import torch
    from transformers import AutoTokenizer, set_seed

    from custom_modules.conversion.local_model import load_model

    if not (source / "config.json").is_file():
        raise UserError(f"{source}: not a Hugging Face folder; give what `danube convert to-hf` wrote")
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
        model: Any = load_model(source)
    except UserError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(f"{source}: transformers cannot load it ({' '.join(str(error).split())})") from None
    set_seed(seed)
    ids = tokenizer.encode(prompt) or [tokenizer.eos_token_id]
    with torch.no_grad():
        generated = model.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            max_new_tokens=max_new_tokens,
            do_sample=True,
            temperature=0.8,
            top_p=0.95,
        )
    return str(tokenizer.decode(generated[0], skip_special_tokens=True))
