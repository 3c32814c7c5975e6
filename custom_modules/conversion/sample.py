"""Text from an exported model, by transformers alone."""

from __future__ import annotations

from pathlib import Path


class Sampler:
    """An exported model that continues prompts, on the CPU.

    Args:
        source: a folder that `to_hf` wrote.

    Raises:
        UserError: the folder is no such export.
    """

    def __init__(self, source: Path) -> None:
        from custom_modules.conversion.local_model import load_export

        self._tokenizer, self._model = load_export(source)

    def continued(self, prompt: str, max_new_tokens: int, seed: int) -> tuple[str, str]:
        """Continue a prompt with tokens drawn from the model, the same ones whatever was drawn before.

        Args:
            prompt: none starts a document.

        Returns:
            The prompt with what follows it, up to the end of the document; and what follows it alone.
        """
        import torch
        from transformers import set_seed

        set_seed(seed)
        ids = self._tokenizer.encode(prompt) or [self._tokenizer.eos_token_id]
        with torch.no_grad():
            generated = self._model.generate(
                torch.tensor([ids]),
                attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                max_new_tokens=max_new_tokens,
                do_sample=True,
                temperature=0.8,
                top_p=0.95,
            )
        whole = str(self._tokenizer.decode(generated[0], skip_special_tokens=True))
        begun = str(self._tokenizer.decode(ids, skip_special_tokens=True))
        # New tokens alone would be decoded without the space before them.
        return whole, whole[len(begun) :]


def sample(source: Path, prompt: str, max_new_tokens: int, seed: int) -> str:
    """Continue a prompt; the arguments, the errors and the text are `Sampler`'s."""
    return Sampler(source).continued(prompt, max_new_tokens, seed)[0]
