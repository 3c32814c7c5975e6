"""Chat models whose every word is known, and conversations that are hard to encode."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from safetensors.numpy import save_file

from custom_modules.chat_tokenizer.prompt_format import ANSWER, ChatTokenizer

_PIECES = [
    *(
        " ",
        "  ",
        "\n",
        "\r\n",
        "\t",
        "\x00",
        "\x1b[2J",
        "\x85",
        "\u00a0",
        "\u2028",
        "\u200b",
        "\ufeff",
        "\u2581",
        "\ufffd",
    ),
    *(
        ">",
        ">>",
        '>"',
        ">(",
        "><",
        "=",
        '"',
        "(",
        "<",
        "|",
        "|>",
        "/",
        "é",
        "e\u0301",
        "日本",
        "👩‍👩‍👧",
        "🙂",
        "\U0010ffff",
    ),
    *("<s>", "</s>", "<unk>", "</</s>s>", "<</s>/s>", "<|endoftext|>", "<|end|>", "<0x41>", "</ s>", "< /s>"),
    *("<|prompt|>", "<|answer|>", "<|prompt", "answer|>", "<|endof<|endoftext|>text|>", "the", "The ", "==", "1234"),
]
contents = st.lists(st.sampled_from(_PIECES) | st.text(max_size=4), max_size=12).map("".join)


def turns(texts: Sequence[str]) -> list[dict[str, str]]:
    """Make messages of texts, the user's first."""
    return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]


conversations = st.integers(1, 3).flatmap(lambda n: st.lists(contents, min_size=2 * n, max_size=2 * n)).map(turns)
"""1 to 3 turns; answers may be empty, and both begin and end oddly."""


def make_chain(folder: Path, tokenizer: ChatTokenizer, says: str, context: int = 256, ends: bool = True) -> Path:
    """Write the export of a chat model that answers anything with one text, whose tokens must all differ.

    A token's embedding is a unit vector of its own, attention and MLP add nothing, and the head's row of a token is
    the vector of the one before it.

    Args:
        ends: whether the eos follows; else the text begins again, for ever.
    """
    begin = tokenizer.encode_prompt(turns(["a"]))[-1]
    whole = tokenizer.encode(turns(["a", says])).ids
    answer = whole[len(tokenizer.encode_prompt(turns(["a"]))) : -1]
    assert len({begin, *answer}) == len(answer) + 1, f"{says}: a token comes twice, or after {ANSWER}"
    chain = [begin, *answer, tokenizer.eos_id if ends else answer[0]]
    rows, size = tokenizer.vocab_size, 8 * -(-tokenizer.vocab_size // 8)
    head = np.zeros((rows, size), np.float32)
    for before, after in pairwise(chain):
        head[after, before] = 1.0
    queries, keys, inner, layer = 8, 4, 8, "model.layers.0"
    nothing = {
        "self_attn.q_proj": (queries, size),
        "self_attn.k_proj": (keys, size),
        "self_attn.v_proj": (keys, size),
        "self_attn.o_proj": (size, queries),
        "mlp.gate_proj": (inner, size),
        "mlp.up_proj": (inner, size),
        "mlp.down_proj": (size, inner),
    }
    norms = ("model.norm", f"{layer}.input_layernorm", f"{layer}.post_attention_layernorm")
    weights = {
        "model.embed_tokens.weight": np.eye(rows, size, dtype=np.float32),
        "lm_head.weight": head,
        **{f"{layer}.{name}.weight": np.zeros(shape, np.float32) for name, shape in nothing.items()},
        **{f"{name}.weight": np.ones(size, np.float32) for name in norms},
    }
    config = {
        "architectures": ["MistralForCausalLM"],
        "model_type": "mistral",
        "vocab_size": rows,
        "hidden_size": size,
        "intermediate_size": inner,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 4,
        "max_position_embeddings": context,
        "sliding_window": None,
        "tie_word_embeddings": False,
        "dtype": "float32",
        "bos_token_id": tokenizer.eos_id,
        "eos_token_id": tokenizer.eos_id,
    }
    folder.mkdir(parents=True)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer.save(folder, context)
    ids = {"eos_token_id": tokenizer.eos_id, "pad_token_id": tokenizer.pad_id}
    (folder / "generation_config.json").write_text(json.dumps({**ids, "do_sample": False, "repetition_penalty": 1.1}))
    return folder
