"""What `danube train-quality` can be told, with its defaults. The paper gives none: they are common ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, ValidationError, model_validator

from custom_modules.config.sections import Float, Int, PositiveFloat, PositiveInt, Section
from custom_modules.errors import UserError
from data_prep.work.damaged_files import OnDamagedFile

ModelKind = Literal["gbm", "encoder"]
KINDS: tuple[ModelKind, ...] = get_args(ModelKind)

Share = Annotated[Float, Field(ge=0, le=1)]
_FROM_SCRATCH = ("num_layers", "hidden_size", "ffn_hidden_size", "num_attention_heads")


class QualityOptions(Section):
    """Options that both kinds have."""

    text_key: str = "text"
    """The field that holds a text, in JSON lines and Parquet."""
    corpus: str | None = None
    """The folder where the builtin corpus lies, or is put if it is among the text; None: one that goes with the
    command. ``data.dir/raw`` is where `danube prepare` has it."""
    good_score: Float | None = None
    """The ``score`` from which on a labelled text without ``label`` is good."""
    on_damaged_file: OnDamagedFile = "fail"
    """What becomes of the command where a file cannot be read, whole or in part: ``fail``, or ``skip`` to learn from
    what can be read."""
    held_out_fraction: Annotated[Float, Field(gt=0, lt=1)] = 0.1
    """The share of the examples that is never trained on; all that is reported is measured on it."""
    max_examples: PositiveInt = 50_000
    """How many of each class are held in memory; of more, those with the smallest content hashes are taken."""
    min_examples: PositiveInt = 100
    """How many each class needs; fewer are refused."""
    threshold: Share = 0.5
    """The score from which the evaluation counts a text as kept in its confusion."""
    seed: Annotated[Int, Field(ge=0, lt=2**31)] = 1234


class GbmOptions(QualityOptions):
    """Options of LightGBM, under its own names."""

    num_iterations: PositiveInt = 200
    learning_rate: PositiveFloat = 0.05
    num_leaves: Annotated[Int, Field(gt=1)] = 31
    min_data_in_leaf: PositiveInt = 20


class EncoderOptions(QualityOptions):
    """What it starts from, and how it is tuned."""

    base: str | None = None
    """A local Hugging Face folder; None: a new BERT of the sizes below."""
    tokenizer: str | None = None
    """A ``tokenizer.model`` or ``tokenizer.json``, or its folder; None: the one in ``base``."""
    tokenizer_library: Literal["sentencepiece", "huggingface"] = "sentencepiece"
    num_layers: PositiveInt = 4
    hidden_size: PositiveInt = 256
    ffn_hidden_size: PositiveInt = 1_024
    num_attention_heads: PositiveInt = 4
    max_length: Annotated[Int, Field(gt=2)] = 512
    """Tokens that are read of a text, from its beginning."""
    epochs: PositiveInt = 3
    batch_size: PositiveInt = 32
    """Texts."""
    lr: PositiveFloat = 5e-5
    """The learning rate at the end of the warm-up; it then falls to 0 in a line."""
    warmup_fraction: Annotated[Float, Field(ge=0, lt=1)] = 0.1
    """The share of the steps that the warm-up takes."""
    weight_decay: Annotated[Float, Field(ge=0)] = 0.01
    """AdamW's decay of the matrices; vectors have none."""
    device: str = "cpu"
    """``cpu``, ``cuda`` or ``cuda:1``, to train on."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        sizes = [size for size in _FROM_SCRATCH if size in self.model_fields_set]
        if self.base and sizes:
            raise ValueError(f"{sizes[0]} is the base's own; leave out {sizes[0]}, or base to begin with a new model")
        if not self.base and not self.tokenizer:
            raise ValueError("nothing to begin with: give base=FOLDER, or tokenizer=FILE for a new model")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size={self.hidden_size} is no multiple of num_attention_heads={self.num_attention_heads}"
            )
        return self


def read_options(kind: ModelKind, given: Mapping[str, object]) -> QualityOptions:
    """Check values, or their text, by the option's name.

    Returns:
        `GbmOptions` or `EncoderOptions`.

    Raises:
        UserError: an unknown kind or option, or a value that it cannot have; one line.
    """
    if kind not in KINDS:
        raise UserError(f"{kind}: no such kind of quality model; use {' or '.join(KINDS)}")
    model: type[QualityOptions] = GbmOptions if kind == "gbm" else EncoderOptions
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        key = ".".join(map(str, problem["loc"]))
        reason = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            reason = f"no such option of a quality model of kind {kind}; it has {', '.join(model.model_fields)}"
        where = f"{key}={problem['input']}: " if key else f"{kind}: "
        raise UserError(where + reason[0].lower() + reason[1:]) from None
