"""The library's interface over our scorers, so that any of its tasks can ask a model of ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM

from custom_modules.scoring.encoding import Encoder
from custom_modules.scoring.scorer import Scorer
from custom_modules.tasks.items import Continuation, Generation, Item

_MAX_NEW_TOKENS = 256
"""Where a task says nothing; the library's own."""


class LanguageModel(TemplateLM):
    """A model as the library takes it, for ``lm_eval.evaluate``.

    Whether a continuation is the likeliest one is not computed: a task that counts that fails.
    """

    def __init__(self, scorer: Scorer, encoder: Encoder, max_length: int) -> None:
        super().__init__()
        self._scorer, self._encoder = scorer, encoder
        self.max_length = max_length

    @property
    def eot_token_id(self) -> int:
        """The end of a document, which stands for an empty context."""
        return self._encoder.eos_ids[0]

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Encode a text alone, with nothing added."""
        return self._encoder.prompt(string) if string else []

    def loglikelihood(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[tuple[float, Any]]:
        """Return each continuation's log-likelihood in nats, and None."""
        asked = [Continuation(*request.args) for request in requests]
        return [(answer.log_likelihood or 0.0, None) for answer in self._answers(asked)]

    def _loglikelihood_tokens(self, requests: Any, **_: Any) -> Any:
        raise NotImplementedError("texts are asked for, and encoded by the model's own tokenizer")

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> Any:
        """No task here asks it."""
        raise NotImplementedError("perplexities of whole documents are validation's")

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """Return each prompt's text, up to the first of its ends."""
        asked = []
        for request in requests:
            context, settings = request.args
            until = settings.get("until", ())
            until = (until,) if isinstance(until, str) else tuple(until)
            asked.append(Generation(context, until, settings.get("max_gen_toks", _MAX_NEW_TOKENS)))
        return [answer.text or "" for answer in self._answers(asked)]

    def _answers(self, asked: Sequence[Continuation | Generation]) -> Any:
        items = [Item("", number, (request,), None, "") for number, request in enumerate(asked)]
        return [answers[0] for answers in self._scorer.score(items)]
