"""A model and a curriculum of seconds, and small data prepared for it."""

from __future__ import annotations

import json
import random
from pathlib import Path

VOCAB_SIZE = 512
TINY = [
    "model.num_layers=2",
    "model.hidden_size=32",
    "model.ffn_hidden_size=64",
    "model.num_attention_heads=4",
    "model.num_query_groups=2",
    f"model.vocab_size={VOCAB_SIZE}",
    "model.sliding_window=48",
    "model.global_batch_tokens=512",
    "model.micro_batch_size=2",
    "~curriculum.stages.stage3",
    "~curriculum.stages.stage4",
    "curriculum.stages.stage1={tokens: 7000, encoder_seq_length: 32}",
    "curriculum.stages.stage2={tokens: 3000, encoder_seq_length: 64}",
    "model.optim.sched.warmup_tokens=1024",
    "trainer.cpu_threads=1",
    "trainer.log_every_n_tokens=512",
    "trainer.val_every_n_tokens=4096",
    "trainer.limit_val_tokens=1024",
    "trainer.evaluate=null",
    "exp_manager.create_tensorboard_logger=false",
    "exp_manager.checkpoint_callback_params.every_n_train_tokens=2048",
]
"""20 steps of 512 tokens: 14 at length 32, below the window, and 6 at 64, beyond it."""


def prepare(folder: Path, documents: int, overrides: list[str]) -> Path:
    """Make small documents and a tokenizer, and prepare them for a config; returns its ``data.dir``."""
    import sentencepiece

    from custom_modules.config.load import load_config
    from data_prep.prepare import run

    source = random.Random(7)
    words = ["".join(source.choices("abcdefghijklmnop", k=source.randint(2, 8))) for _ in range(400)]
    texts = [" ".join(source.choices(words, k=source.randint(10, 60))) for _ in range(documents)]
    (folder / "text.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_prefix=str(folder / "tokenizer"),
        model_type="bpe",
        vocab_size=VOCAB_SIZE,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    run(
        load_config(
            "danube_rehearsal",
            [
                *overrides,
                f"data.dir={folder / 'data'}",
                f"data.input={folder / 'text.jsonl'}",
                f"model.tokenizer.model={folder / 'tokenizer.model'}",
                "data.validation_fraction=0.1",
                "data.workers=1",
            ],
        )
    )
    return folder / "data"
