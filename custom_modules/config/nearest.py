"""The key that somebody meant who wrote another: one that is near, or none."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from difflib import SequenceMatcher

ALIKE = 0.8
"""From this share of characters in common on, of both names together, one is a misspelling of the other."""

LONG_ENOUGH = 4
"""Letters of a name that is taken for a part of another: fewer say too little."""

MOST = 2
"""Names of which one is a part that are offered together: of more, each is no better than a guess."""


def nearest_key(key: str, known: Collection[str], moved: bool = True) -> str | None:
    """Return the known dotted key that is near to another.

    The last component decides: the same in a neighbouring section, if no second one has it; else one that is alike, or
    whose words have all of its words, in the same section or one that is spelled alike. Two that have are both given,
    of more there is none.

    Args:
        moved: whether a name of one word, as `type` or `name`, may be that of another section, or a part of a name.
    """
    *path, leaf = key.split(".")
    candidates = {each: each.split(".") for each in known}
    if moved or "_" in leaf:
        elsewhere = [each for each, parts in candidates.items() if parts[-1] == leaf and _neighbours(path, parts[:-1])]
        if elsewhere:
            return elsewhere[0] if len(elsewhere) == 1 else None
    here = [each for each, parts in candidates.items() if _alike_paths(path, parts[:-1])]
    spelled = max(here, key=lambda each: _ratio(leaf, candidates[each][-1]), default=None)
    if spelled is not None and _ratio(leaf, candidates[spelled][-1]) >= ALIKE:
        return spelled
    if not moved:
        return None
    fuller = {each: extra for each in here for extra in _extra_words(leaf, candidates[each][-1])}
    fewest = [each for each, extra in fuller.items() if extra == min(fuller.values())]
    return " or ".join(fewest) if 0 < len(fewest) <= MOST else None


def _ratio(first: str, second: str) -> float:
    return SequenceMatcher(None, first, second, autojunk=False).ratio()


def _alike_paths(path: list[str], other: list[str]) -> bool:
    return len(path) == len(other) and all(a == b or _ratio(a, b) >= ALIKE for a, b in zip(path, other, strict=True))


def _neighbours(path: list[str], other: list[str]) -> bool:
    """Whether one path is the other with components left out, or the two are spelled alike."""
    if any(part.startswith("<") for part in other):
        return False
    return _alike_paths(path, other) or _is_part(path, other) or _is_part(other, path)


def _is_part(path: list[str], whole: list[str]) -> bool:
    rest = iter(whole)
    return all(name in rest for name in path)


def _extra_words(leaf: str, fuller: str) -> Iterator[int]:
    """Yield how many words of a name another lacks, if it has no others, and as many as it lacks at least."""
    words, all_words = leaf.split("_"), fuller.split("_")
    missing = [word for word in words if not any(word == each or word + "s" == each for each in all_words)]
    extra = len(all_words) - len(words)
    if not missing and len(leaf) >= LONG_ENOUGH and 0 < extra <= len(words):
        yield extra
