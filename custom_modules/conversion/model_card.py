"""An export's README.md: what the model is, what it was trained from and on, how, and what it is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from custom_modules.chat_tokenizer.template import ANSWER, PROMPT
from custom_modules.text import as_yaml, flatten
from custom_modules.version import VERSION

CARD = "README.md"

LICENCES = {
    "openorca": ("Open-Orca/OpenOrca", "MIT"),
    "metamathqa": ("meta-math/MetaMathQA", "MIT"),
    "ultrachat": ("HuggingFaceH4/ultrachat_200k", "MIT"),
    "oasst2": ("OpenAssistant/oasst2", "Apache-2.0"),
    "ultrafeedback": ("HuggingFaceH4/ultrafeedback_binarized", "MIT"),
    "orcadpo": ("Intel/orca_dpo_pairs", "Apache-2.0"),
    "distilabelmath": ("argilla/distilabel-math-preference-dpo", "Apache-2.0"),
}
"""The report's sets of conversations, by how a source's name begins: its name on the hub, and its licence."""
_SHAPE = ("num_layers", "hidden_size", "ffn_hidden_size", "num_attention_heads", "num_query_groups", "vocab_size")
_RECIPE = (
    "objective",
    "curriculum.stages",
    "trainer.max_epochs",
    "trainer.precision",
    "distillation",
    "model.optim",
    "model.fp8",
    "model.seed",
    "model.global_batch",
    "model.rampup",
    "model.peft",
    "model.dpo",
    "model.encoder_seq_length",
)
"""The beginnings of the keys of a config that say how a model was trained."""
_KINDS = {
    "pretrain": "pre-trained on text",
    "sft": "fine-tuned on conversations, by the loss of the answers alone",
    "dpo": "aligned by direct preference optimisation, on pairs of answers",
}
_LIMITS = (
    "It was made with the recipe above and is none of H2O.ai's published models.",
    "It states false things with confidence, and repeats the errors, opinions and slurs of what it was trained on.",
    "It was not tested for safety, and not for any use; test it for yours before others depend on it.",
)


def model_card(plain: Mapping[str, Any], hf_config: Mapping[str, Any], parameters: int, trained: str) -> str:
    """Write the card of an export. Of paths it says the last name only.

    Args:
        plain: the run's config, as its checkpoint has it.
        hf_config: the export's config.json.
        parameters: of the model.
        trained: how far training came, in words, such as ``1,000 tokens in 10 steps``.
    """
    kind = str(plain.get("kind", "pretrain"))
    is_chat = kind != "pretrain"
    name = plain["exp_manager"]["name"]
    sections = {
        "Model": _table(_facts(hf_config, parameters)),
        "Trained from and on": [*_origin(plain, kind, trained), "", *_sources(plain["data"], is_chat)],
        "Recipe": ["```yaml", *_recipe(plain), "```"],
        "Use": _use(is_chat),
        "Limits": [f"- {limit}" for limit in (*_LIMITS, *_context(hf_config))],
    }
    tags = ["danube-pretrain", *(["conversational"] if is_chat else [])]
    head = ["---", "library_name: transformers", "pipeline_tag: text-generation", f"tags: [{', '.join(tags)}]", "---"]
    lines = [*head, "", f"# {name}"]
    for title, body in sections.items():
        lines += ["", f"## {title}", "", *body]
    return "\n".join(lines) + "\n"


def _facts(hf_config: Mapping[str, Any], parameters: int) -> dict[str, str]:
    window = hf_config.get("sliding_window")
    return {
        "class": f"`{hf_config['architectures'][0]}`",
        "parameters": f"{parameters:,}, in {hf_config['dtype']}",
        "vocabulary": f"{hf_config['vocab_size']:,} tokens",
        "context": f"{hf_config['max_position_embeddings']:,} tokens" + (f", a window of {window:,}" if window else ""),
    }


def _table(rows: Mapping[str, str]) -> list[str]:
    return ["| | |", "| --- | --- |", *(f"| {key} | {value} |" for key, value in rows.items())]


def _origin(plain: Mapping[str, Any], kind: str, trained: str) -> Iterator[str]:
    base = plain["model"].get("restore_from_path")
    begun = f"It began with the weights of `{Path(base).name}`, and" if base else "It"
    yield f"{begun} was {_KINDS.get(kind, kind)}: {trained}, by danube-pretrain {VERSION}, recipe `{plain['name']}`."


def _sources(data: Mapping[str, Any], is_chat: bool) -> Iterator[str]:
    sources = data.get("sources") or {}
    if not is_chat:
        named = ", ".join(f"`{name}`" for name in sources)
        yield f"Its text: {named or 'one corpus without a name'}. Its licences are its owners'."
        return
    yield "| set | on the hub | licence | at most |"
    yield "| --- | --- | --- | --- |"
    for name, source in sources.items():
        place, licence = _licence(name, (source or {}).get("format"))
        most = (source or {}).get("max_samples")
        yield f"| {name} | {place} | {licence} | {f'{most:,} samples' if most else 'all of it'} |"
    yield ""
    yield "The licences are those that the sets' own cards gave; look there before you publish what was trained on one."
    yield "Of most of these sets the answers were written by other models, whose makers' terms may bind too."


def _licence(name: str, form: str | None) -> tuple[str, str]:
    for text in (name, form or ""):
        plain = "".join(character for character in text.lower() if character.isalnum())
        for begins, found in LICENCES.items():
            if plain.startswith(begins):
                return found
    return "", "not known here"


def _recipe(plain: Mapping[str, Any]) -> Iterator[str]:
    shape = {f"model.{key}" for key in _SHAPE}
    for key, value in flatten(plain):
        if value is not None and (key in shape or key.startswith(_RECIPE)):
            yield f"{key}: {as_yaml(value)}"


def _use(is_chat: bool) -> Iterator[str]:
    if not is_chat:
        yield "It continues texts, and does not answer: `danube sample FOLDER --prompt TEXT`, or transformers'"
        yield "`AutoModelForCausalLM`."
        return
    yield f"`danube chat FOLDER`, or transformers' `apply_chat_template`. Turns begin with `{PROMPT}` and `{ANSWER}`,"
    yield "and there is no system role. `generation_config.json` has the report's repetition penalty."


def _context(hf_config: Mapping[str, Any]) -> Iterator[str]:
    yield f"It was trained on sequences of up to {hf_config['max_position_embeddings']:,} tokens; beyond that it fails."
    yield "What languages it has is what its text has."
