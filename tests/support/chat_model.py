"""A chat model of random weights: a Llama of one layer over bytes, with a template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TEMPLATE = (
    "{% for message in messages %}<|{{ 'prompt' if message.role == 'user' else 'answer' }}|>"
    "{{ message.content | trim }}<|end|>{% endfor %}{% if add_generation_prompt %}<|answer|>{% endif %}"
)
CONTEXT = 1_024


def make_chat_export(folder: Path, seed: int = 0, context: int = CONTEXT) -> Path:
    """Write one whose answers differ by prompt, and soon end."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from custom_modules.tokenizer.byte_bpe import write_tokenizer

    torch.manual_seed(seed)
    shape: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": context,
        "initializer_range": 0.5,
    }
    LlamaForCausalLM(LlamaConfig(vocab_size=257, eos_token_id=256, bos_token_id=256, **shape)).save_pretrained(folder)
    write_tokenizer(folder, [bytes([byte]) for byte in range(256)], is_whole=False)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 256, "repetition_penalty": 5.0}))
    return folder
