"""Another tokenizer's tokens in the student's: by the bytes they stand for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from custom_modules.errors import UserError
from custom_modules.tokenizer import Tokenizer
from custom_modules.tokenizer.vocabulary import Kind

NOWHERE = -1
"""In place of a student's id: the teacher's token stands for nothing that the student says."""
_ANCHOR = "\n"


class ByteVocabulary:
    """A tokenizer whose tokens' bytes are known.

    Attributes:
        tokenizer: the one.
        contents: the bytes of each id; none of a control token.

    Raises:
        UserError: it is of a kind that does not tell what its tokens stand for.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        tokens = tokenizer.tokens()
        is_text = [token.kind in (Kind.TEXT, Kind.BYTE) for token in tokens]
        self.contents = [token.content if said else b"" for token, said in zip(tokens, is_text, strict=True)]
        self._lengths = np.array([len(content) for content in self.contents], np.int64)
        self.by_content: dict[bytes, int] = {}
        for kind in (Kind.TEXT, Kind.BYTE):
            for index, token in enumerate(tokens):
                if token.kind is kind and token.content:
                    self.by_content.setdefault(token.content, index)
        self._adds_space = b"".join(self._bytes_of(tokenizer.encode("a"))) == b" a"

    def _bytes_of(self, ids: Sequence[int]) -> list[bytes]:
        return [self.contents[index] for index in ids]

    def begins(self, ids: Sequence[int], text: bytes) -> NDArray[np.int64] | None:
        """Find where the tokens of a text begin in it.

        Returns:
            [ids + 1], int64: the byte at which each begins; last, the text's length. None where the ids do not stand
            for exactly this text, but for a space that SentencePiece puts before it.
        """
        joined = b"".join(self._bytes_of(ids))
        added = len(joined) - len(text)
        if added not in (0, 1) or joined[added:] != text or (added and joined[:1] != b" "):
            return None
        ends = np.cumsum(self._lengths[np.asarray(ids, np.int64)]) - added
        return np.maximum(np.concatenate([np.zeros(1, np.int64), ends]), 0)

    def first_tokens(self, contents: Sequence[bytes]) -> NDArray[np.int32]:
        """Return the id with the bytes of each content, or else of the first token that it is encoded to.

        What is no text by itself, such as half a character, is said by the longest token that it begins with.

        Returns:
            [contents], int32; `NOWHERE` where not even that is there.
        """
        found = np.array([self.by_content.get(content, NOWHERE) for content in contents], np.int32)
        for place in np.flatnonzero(found == NOWHERE).tolist():
            found[place] = self._first_token(contents[place])
        return found

    def _first_token(self, content: bytes) -> int:
        try:
            text = content.decode()
        except UnicodeDecodeError:
            return self.longest_prefix(content)
        # Behind an anchor where a text by itself would begin with a space that is not its own.
        text, behind = (_ANCHOR + text, len(_ANCHOR)) if self._adds_space else (text, 0)
        if not text or not self.tokenizer.can_encode(text):
            return self.longest_prefix(content)
        ids = self.tokenizer.encode(text)
        begins = self.begins(ids, text.encode())
        if begins is not None:
            for index, begin in zip(ids, begins.tolist(), strict=False):
                if begin == behind and self.contents[index] and content.startswith(self.contents[index]):
                    return index
        return self.longest_prefix(content)

    def longest_prefix(self, content: bytes) -> int:
        """Return the id with the most bytes that some bytes begin with; `NOWHERE` where there is none."""
        ends = range(len(content), 0, -1)
        return next((self.by_content[content[:end]] for end in ends if content[:end] in self.by_content), NOWHERE)


def map_tokens(teacher: ByteVocabulary, student: ByteVocabulary) -> NDArray[np.int32]:
    """Map each of a teacher's ids to the student's token of the same bytes, else to the first that the student makes
    of them. The end of a document is the same for both; other control tokens are nowhere.

    Returns:
        [teacher's vocabulary], int32: the student's ids; `NOWHERE` for what it cannot say.
    """
    found = np.full(len(teacher.contents), NOWHERE, np.int32)
    said = [index for index, content in enumerate(teacher.contents) if content]
    found[said] = student.first_tokens([teacher.contents[index] for index in said])
    found[teacher.tokenizer.eos_id] = student.tokenizer.eos_id
    return found


def byte_vocabulary(tokenizer: Tokenizer, whose: str) -> ByteVocabulary:
    """Return what a tokenizer's tokens stand for.

    Args:
        whose: for the message.

    Raises:
        UserError: nobody knows.
    """
    try:
        return ByteVocabulary(tokenizer)
    except UserError as error:
        raise UserError(f"{whose}: its tokens cannot be mapped by their bytes: {error}") from None
