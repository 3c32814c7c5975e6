"""Times steps of supervised fine-tuning of one contender, in a process of its own. Run by ``python -m benchmarks``.

Both train a model of the rehearsal's shape, with weights of their own, on the same samples in the same steps: random
tokens of different lengths, of which the second half is an answer. A step is all of it: reading, padding, both passes
and the update.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from custom_modules.config.load import load_config
from custom_modules.config.sft import SftConfig
from custom_modules.data.sample_steps import SampleSteps
from custom_modules.platform import Platform
from custom_modules.platform.environment import import_megatron_for

BATCH, STEPS, WARMUP = 8, 7, 2
SHORTEST, LONGEST = 306, 560
"""Tokens of a sample; the mean is 433."""
RUN = [
    *["trainer.devices=1", "trainer.cpu_threads=1", f"model.global_batch_size={BATCH}", "model.restore_from_path=none"],
    f"model.micro_batch_size={BATCH}",
]


class Made:
    """Samples that are made up.

    Args:
        vocab_size: ids are below it.
    """

    folder = Path("made up")

    def __init__(self, vocab_size: int) -> None:
        source = np.random.RandomState(0)
        self.lengths = source.randint(SHORTEST, LONGEST + 1, size=BATCH * (STEPS + WARMUP)).astype(np.int32)
        self._ids = [source.randint(3, vocab_size, size=length).astype(np.int64) for length in self.lengths]

    def __getitem__(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        ids = self._ids[number]
        return ids, np.arange(len(ids)) >= len(ids) // 2


def ours(config: SftConfig, samples: Made) -> list[float]:
    """Return the CPU seconds of each step of the project's engine."""
    import_megatron_for(config)
    from custom_modules.data.sample_batches import SampleLoader
    from custom_modules.training.engine import Engine

    platform, steps = Platform.detect(config), SampleSteps(config, samples.lengths)
    seconds = []
    with platform.running(config):
        engine = Engine(config, steps, platform)
        loader = SampleLoader(0, config.model.vocab_size, 0, platform.device, 1)
        chosen = list(steps.from_step(0))
        with loader.open(samples, chosen) as batches:
            for step in chosen:
                begun = time.process_time()
                engine.train_step(batches, step)
                seconds.append(time.process_time() - begun)
    return seconds


def trls(config: SftConfig, samples: Made) -> list[float]:
    """Return the CPU seconds of each step of trl's SFTTrainer."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import datasets
    import transformers
    import trl

    model_config, optim = config.model, config.model.optim
    sizes: Any = transformers.MistralConfig
    model = transformers.MistralForCausalLM(
        sizes(
            vocab_size=model_config.vocab_size,
            hidden_size=model_config.hidden_size,
            intermediate_size=model_config.ffn_hidden_size,
            num_hidden_layers=model_config.num_layers,
            num_attention_heads=model_config.num_attention_heads,
            num_key_value_heads=model_config.num_query_groups,
            head_dim=model_config.head_dim,
            sliding_window=model_config.sliding_window,
            max_position_embeddings=model_config.encoder_seq_length,
            attn_implementation="sdpa",
            use_cache=False,
        )
    )
    order = [number for step in SampleSteps(config, samples.lengths).from_step(0) for number in step.real_samples]
    examples = []
    for number in order:
        ids, answers = samples[number]
        labels = [int(token) if is_answer else -100 for token, is_answer in zip(ids, answers, strict=True)]
        examples.append({"input_ids": ids.tolist(), "labels": labels})
    seconds: list[float] = []

    class Clock(transformers.TrainerCallback):
        """Notes when a step ends, and with that the next one begins."""

        begun = 0.0

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            self.begun = time.process_time()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            now = time.process_time()
            seconds.append(now - self.begun)
            self.begun = now

    class InOrder(trl.SFTTrainer):
        """Takes the samples as they lie."""

        def _get_train_sampler(self, *_: Any) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset)

    with tempfile.TemporaryDirectory() as folder:
        trainer = InOrder(
            model,
            trl.SFTConfig(
                output_dir=folder,
                per_device_train_batch_size=BATCH,
                num_train_epochs=1,
                completion_only_loss=False,
                max_length=model_config.encoder_seq_length,
                gradient_checkpointing=False,
                bf16=False,
                report_to="none",
                use_cpu=True,
                save_strategy="no",
                logging_strategy="no",
                disable_tqdm=True,
                learning_rate=optim.lr,
                max_grad_norm=0.0,
                optim="adamw_torch",
            ),
            train_dataset=datasets.Dataset.from_list(examples),
            processing_class=_Tokenizer.make(),
            callbacks=[Clock()],
        )
        trainer.train()
    return seconds


class _Tokenizer:
    """What SFTTrainer asks a tokenizer for where the samples are tokens already."""

    @staticmethod
    def make() -> Any:
        import tokenizers
        import transformers

        plain = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<unk>": 0, "</s>": 1}, unk_token="<unk>"))
        return transformers.PreTrainedTokenizerFast(
            tokenizer_object=plain, eos_token="</s>", pad_token="<unk>", unk_token="<unk>"
        )


def main() -> None:
    """Print the CPU seconds of the steps behind those that warm up, and the tokens of all of them, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("contender", choices=("ours", "trl"))
    contender = parser.parse_args().contender
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = load_config("danube_sft_rehearsal", RUN, kind=SftConfig)
    samples = Made(config.model.vocab_size)
    seconds = ours(config, samples) if contender == "ours" else trls(config, samples)
    assert len(seconds) == STEPS + WARMUP
    print(json.dumps({"seconds": seconds[WARMUP:], "mean_length": float(samples.lengths.mean())}))


if __name__ == "__main__":
    main()
