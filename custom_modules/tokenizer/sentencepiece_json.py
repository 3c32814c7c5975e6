"""A SentencePiece model as the `tokenizers` library's JSON, where that is exact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from sentencepiece import sentencepiece_model_pb2

from custom_modules.tokenizer.vocabulary import SPACE

ModelProto: Any = vars(sentencepiece_model_pb2)["ModelProto"]
_Piece = ModelProto.SentencePiece


def why_not_exact(proto: Any) -> str | None:
    """What keeps a model from being written as `tokenizers` JSON that encodes every text alike.

    Args:
        proto: SentencePiece's ``ModelProto``.

    Returns:
        The reason in a few words; None if nothing does.
    """
    trainer, normalizer = proto.trainer_spec, proto.normalizer_spec
    kinds = Counter(piece.type for piece in proto.pieces)
    normal = {piece.piece for piece in proto.pieces if piece.type == _Piece.NORMAL}
    conditions = {
        "it is not a BPE model": trainer.model_type == trainer.BPE,
        "it has no byte fallback": trainer.byte_fallback and kinds[_Piece.BYTE] == 256,
        "it normalizes the text": not normalizer.precompiled_charsmap,
        "it removes spaces": not normalizer.remove_extra_whitespaces,
        "it does not escape spaces": normalizer.escape_whitespaces,
        "it puts spaces behind words": not trainer.treat_whitespace_as_suffix,
        "it has user-defined or unused pieces": not kinds[_Piece.USER_DEFINED] and not kinds[_Piece.UNUSED],
        "two of its pieces have one score": all(len(set(piece)) == 1 for piece in _tied(proto)),
        "a character of a piece is no piece": all(character in normal for piece in normal for character in piece),
    }
    return next((reason for reason, holds in conditions.items() if not holds), None)


def _tied(proto: Any) -> list[str]:
    """Pieces of several characters whose score is another's too: SentencePiece merges the leftmost of them first."""
    merged = [piece for piece in proto.pieces if piece.type == _Piece.NORMAL and len(piece.piece) > 1]
    scores = Counter(piece.score for piece in merged)
    return [piece.piece for piece in merged if scores[piece.score] > 1]


def probes(proto: Any) -> Iterator[str]:
    """Texts that show whether ties come out alike. Llama's runs of spaces all have one score."""
    tied = _tied(proto)
    for character in {piece[0] for piece in tied}:
        longest = max(len(piece) for piece in tied if piece[0] == character)
        for length in range(1, 4 * longest + 1):
            yield f"a{character * length}b".replace(SPACE, " ")


def to_json(proto: Any) -> dict[str, Any]:
    """The content of a ``tokenizer.json`` that encodes as the model does; `why_not_exact` must be None.

    Merges are ranked by the score of the piece they make, as SentencePiece chooses them; transformers ranks them by
    id. There are no added tokens, so ``</s>`` in a text is text.
    """
    pieces = [(piece.piece, piece.type, piece.score) for piece in proto.pieces]
    score = {piece: value for piece, kind, value in pieces if kind == _Piece.NORMAL}
    ids = {piece: index for index, (piece, _, _) in enumerate(pieces)}
    merges: list[tuple[str, str]] = []
    for piece in sorted((piece for piece in score if len(piece) > 1), key=lambda piece: -score[piece]):
        possible = [
            (left, right)
            for cut in range(1, len(piece))
            if (left := piece[:cut]) in score and (right := piece[cut:]) in score
        ]
        merges += sorted(possible, key=lambda half: (ids[half[0]], ids[half[1]]))
    unknown = next(piece for piece, kind, _ in pieces if kind == _Piece.UNKNOWN)
    prepend = [{"type": "Prepend", "prepend": SPACE}] if proto.normalizer_spec.add_dummy_prefix else []
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prepend else []
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [*prepend, {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}],
        },
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                *strip,
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": unknown,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": ids,
            "merges": merges,
        },
    }
