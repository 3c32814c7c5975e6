"""What the rest of the program asks of an architecture. Nothing here imports torch or the config."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from custom_modules.architecture.weights import ModelShape, Weight
from custom_modules.text import as_yaml

POSITIONS = {"rope": 2, "alibi": 1, "none": 1}
"""``model.position_embedding_type`` -> what the head dim must be a multiple of: rotary embeddings turn pairs."""


@dataclass(frozen=True)
class HuggingFace:
    """The class of transformers that an export is, and its config.json."""

    class_name: str
    model_type: str
    shape: Mapping[str, str]
    """The fields that are ``model`` keys of ours, and our names of them."""
    fixed: Callable[[ModelShape], dict[str, Any]]
    """The fields that follow from the architecture, and their values; any other value is another model."""
    absent: tuple[str, ...] = ()
    """Fields of neighbouring models: where one is set, it is one of those."""
    written: Mapping[str, Any] = field(default_factory=dict)
    """Fields that an export has beside these, because the class's defaults would be wrong; an import ignores them."""
    alike: tuple[HuggingFace, ...] = ()
    """Classes that are the same function of the same weights where their config says what this one's does: an import
    takes them too. A field of ``shape`` that one of them does not have is null there."""
    module: str | None = None
    """The module of `custom_modules.conversion` that has the classes, whose file an export carries; None:
    transformers has them."""
    config_class: str | None = None
    """The class of its config in that module."""

    @property
    def auto_map(self) -> dict[str, str]:
        """Where transformers' auto classes find those that an export carries."""
        return {
            "AutoConfig": f"{self.module}.{self.config_class}",
            "AutoModelForCausalLM": f"{self.module}.{self.class_name}",
        }


@dataclass(frozen=True)
class Architecture:
    """A kind of decoder: what its weights are, what its keys may say, and what Hugging Face calls it."""

    name: str
    weights: Callable[[ModelShape], Sequence[Weight]]
    """All weights, in the order a token meets them; a layer's once."""
    choices: Mapping[str, tuple[Any, ...]]
    """What each ``model`` key that belongs to an architecture may be, its own value first."""
    hugging_face: HuggingFace
    gguf_architecture: str | None = None
    """What llama.cpp calls it, for `danube convert to-gguf`; None: that does not write it."""
    has_window: bool = False
    """Whether its attention may be limited by ``model.sliding_window``."""
    aliases: Mapping[tuple[str, Any], Any] = field(default_factory=dict)
    """(key, other name of a value) -> the value."""

    def choose(self, key: str, given: Any) -> Any:
        """The value of one of its keys, where null is its own.

        Raises:
            ValueError: it cannot have this one.
        """
        choices = self.choices[key]
        value = self.aliases.get((key, given), given) if isinstance(given, Hashable) else given
        if value is None:
            return choices[0]
        if value not in choices:
            known = " or ".join(as_yaml(choice) for choice in choices)
            raise ValueError(f"model.architecture={self.name} has {known} only")
        return value
