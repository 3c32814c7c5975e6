from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tokenizers import BertWordPieceTokenizer

from custom_modules.errors import DivergedError, UserError
from data_prep.quality.encoder import encode
from data_prep.quality.encoder_start import own_tokenizer, saved_tokenizer, start
from data_prep.quality.folder import load_quality_model, read_description
from data_prep.quality.options import EncoderOptions
from data_prep.quality.train import train_quality
from tests.support.quality import Corpus, Trained

FEW = {"max_examples": 120, "epochs": 1, "held_out_fraction": 0.25}


@pytest.fixture(scope="module")
def base(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder such as the hub has: a small BERT without our head, and its WordPiece tokenizer."""
    folder = tmp_path_factory.mktemp("base")
    pieces = BertWordPieceTokenizer()
    pieces.train_from_iterator(corpus.good, vocab_size=600, show_progress=False)
    transformers.BertTokenizer(vocab=pieces.get_vocab(), model_max_length=64).save_pretrained(folder)
    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=600, max_position_embeddings=64, **sizes)
    transformers.BertModel(config).save_pretrained(folder)
    return folder


def test_a_new_bert_tells_prose_from_noise(encoder: Trained) -> None:
    assert encoder.report.roc_auc > 0.9


def test_scores_are_the_same_in_batches_and_one_by_one(corpus: Corpus, encoder: Trained) -> None:
    model = load_quality_model(encoder.folder)
    texts = [*corpus.good[:20], *corpus.raw[:20], "", "a", corpus.good[0] * 1000]
    scores = model.score(texts)
    assert scores.dtype == np.float32 and scores.shape == (43,) and scores.min() >= 0 and scores.max() <= 1
    np.testing.assert_allclose(scores, np.concatenate([model.score([text]) for text in texts]), rtol=0, atol=1e-5)
    assert model.score([]).shape == (0,)


def test_the_same_seed_gives_the_same_bytes_and_leaves_torchs_alone(
    corpus: Corpus, encoder_options: dict[str, object], tmp_path: Path
) -> None:
    before = torch.get_rng_state()
    files = [corpus.good_file], [corpus.raw_file]
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        train_quality("encoder", tmp_path / name, *files, options={**encoder_options, **FEW, "seed": seed})
    assert torch.equal(torch.get_rng_state(), before)
    files_of = {name: read_description(tmp_path / name).files for name in ("one", "same", "other")}
    assert files_of["one"] == files_of["same"]
    assert files_of["one"]["model.safetensors"] != files_of["other"]["model.safetensors"]


def test_a_base_of_ones_own_brings_its_tokenizer(corpus: Corpus, base: Path, tmp_path: Path) -> None:
    options = {**FEW, "base": str(base), "max_length": 64, "lr": 1e-2, "epochs": 2}
    report = train_quality("encoder", tmp_path / "m", [corpus.good_file], [corpus.raw_file], options=options)
    assert report.roc_auc > 0.9
    mine, theirs = saved_tokenizer(tmp_path / "m", ""), saved_tokenizer(base, "")
    assert [ids.tolist() for ids in encode(mine, corpus.good[:5], 64)] == [
        ids.tolist() for ids in encode(theirs, corpus.good[:5], 64)
    ]
    assert transformers.AutoConfig.from_pretrained(tmp_path / "m").id2label == {0: "raw", 1: "good"}


def test_a_base_keeps_its_weights_under_a_new_head(base: Path) -> None:
    model, _ = start(EncoderOptions(base=str(base), max_length=16))
    theirs = transformers.BertModel.from_pretrained(base).state_dict()
    assert all(torch.equal(model.bert.state_dict()[name], weight) for name, weight in theirs.items())
    assert model.classifier.weight.shape == (2, 32)


def test_the_projects_tokenizer_puts_bos_and_eos_around_a_text(small_tokenizer: Path, tmp_path: Path) -> None:
    tokenizer = own_tokenizer(str(small_tokenizer), "sentencepiece")
    tokenizer.save_pretrained(tmp_path)
    for each in (tokenizer, saved_tokenizer(tmp_path, "")):
        short, empty, long, special = encode(each, ["one text", "", "word " * 1000, "a </s> b <unk>"], 16)
        assert short[0] == 1 and short[-1] == 2 and empty.tolist() == [1, 2]
        assert len(long) == 16 and long[-1] == 2
        assert not {0, 1, 2} & set(special[1:-1].tolist())
        assert each.decode(short, skip_special_tokens=True) == "one text"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"base": "nowhere"}, "base=nowhere: no config.json there"),
        ({"base": "{base}", "max_length": 65}, "max_length=65: base=.* reads fewer tokens; use a smaller max_length"),
        (
            {"base": "{base}", "max_length": 32, "tokenizer": "{tokenizer}"},
            "tokenizer=.*: the tokenizer has 1000 tokens, ",
        ),
        ({"tokenizer": "nowhere"}, "^tokenizer=nowhere: no such file there"),
        ({"tokenizer": "{base}/config.json"}, "^tokenizer=.*not a SentencePiece .* set tokenizer_library=hugg"),
        ({"tokenizer": "{tokenizer}", "device": "abacus"}, "device=abacus: torch finds no such device here"),
    ],
)
def test_what_it_cannot_begin_with_is_one_line(
    corpus: Corpus, base: Path, small_tokenizer: Path, tmp_path: Path, options: dict[str, object], says: str
) -> None:
    places = {"{base}": str(base), "{tokenizer}": str(small_tokenizer)}
    for mark, place in places.items():
        options = {
            key: value.replace(mark, place) if isinstance(value, str) else value for key, value in options.items()
        }
    with pytest.raises(UserError, match=says) as caught:
        train_quality("encoder", tmp_path / "m", [corpus.good_file], [corpus.raw_file], options={**FEW, **options})
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_base_without_a_tokenizer_or_weights_is_named(base: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((base / "config.json").read_bytes())
    with pytest.raises(UserError, match=r"base=.*: transformers cannot load it as a classifier of texts"):
        start(EncoderOptions(base=str(tmp_path)))
    (tmp_path / "model.safetensors").write_bytes((base / "model.safetensors").read_bytes())
    with pytest.raises(UserError, match=r"base=.*: transformers cannot load a tokenizer from it"):
        start(EncoderOptions(base=str(tmp_path)))


def test_a_loss_that_is_not_finite_ends_it(corpus: Corpus, encoder_options: dict[str, object], tmp_path: Path) -> None:
    options = {**encoder_options, **FEW, "lr": 1e30}
    with pytest.raises(DivergedError, match=r"lr=1e\+30: the loss is nan in epoch 1; use a smaller lr"):
        train_quality("encoder", tmp_path / "m", [corpus.good_file], [corpus.raw_file], options=options)
    assert not list(tmp_path.iterdir())
