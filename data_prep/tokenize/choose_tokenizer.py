"""The tokenizer that a dataset is made with: the user's, one trained on the text, or the one left before."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from custom_modules.config.schema import Config
from custom_modules.data.layout import TOKENIZER
from custom_modules.errors import UserError
from custom_modules.files import explained, whole_file
from custom_modules.tokenizer import Tokenizer, copy_tokenizer, load_tokenizer
from custom_modules.tokenizer.load import FILES
from data_prep.tokenize.train_tokenizer import train_tokenizer


def choose_tokenizer(config: Config, corpus: Iterable[str] | None, folder: Path) -> Tokenizer:
    """Put a tokenizer's files into a folder and load it from there, so that it cannot change during the run.

    Args:
        corpus: the text to train on where no tokenizer is given; None where none may be trained.
        folder: where to put it.

    Raises:
        UserError: there is none, it cannot be read or trained, or its vocabulary is not the model's.
    """
    library, vocab_size = config.model.tokenizer.library, config.model.vocab_size
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if config.model.tokenizer.model is None and corpus is not None:
        if library != "sentencepiece":
            raise UserError(
                f"model.tokenizer.library={library}: only a SentencePiece tokenizer can be trained here; use "
                "model.tokenizer.library=sentencepiece, or give model.tokenizer.model"
            )
        whole_file(folder / FILES[library], train_tokenizer(corpus, vocab_size))
    else:
        with explained(folder):
            copy_tokenizer(given_tokenizer(config), folder)
    tokenizer = load_tokenizer(library, folder)
    if tokenizer.vocab_size != vocab_size:
        raise UserError(
            f"model.vocab_size={vocab_size}: the tokenizer {config.model.tokenizer.model or tokenizer.path} has "
            f"{tokenizer.vocab_size} tokens; set model.vocab_size={tokenizer.vocab_size}, or give another tokenizer"
        )
    return tokenizer


def given_tokenizer(config: Config) -> Tokenizer:
    """The tokenizer of ``model.tokenizer.model``, or else the one that an earlier ``prepare`` left in ``data.dir``.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    options = config.model.tokenizer
    path = Path(config.data.dir) / TOKENIZER if options.model is None else Path(options.model)
    if options.model is None and not (path / FILES[options.library]).is_file():
        raise UserError(
            f"model.tokenizer.model=null: there is no tokenizer in {path}; give the path of one, or set "
            "data.train_tokenizer=true to train one on the text"
        )
    return load_tokenizer(options.library, path)
