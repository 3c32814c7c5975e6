"""The four fates of a NeMo key, and how an entry of the table is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from custom_modules.config.nemo.settings import Refused, Settings, as_value
from custom_modules.text import as_yaml


class Fate(Enum):
    """What becomes of a key; its value says it for people."""

    SAME = "same meaning"
    TRANSLATED = "translated"
    ANYWAY = "so anyway"
    REFUSED = "refused"


@dataclass(frozen=True)
class Outcome:
    """What a NeMo key and its value are here."""

    put: Mapping[str, Any]
    """Keys of ours, with their values."""
    note: str = ""
    """What to say beside them; where there are none, why nothing has to be done."""


NOTHING = Outcome({})

Read = Callable[[Any, Settings], Outcome]
"""Takes the value and the config with all that was translated before; raises `Refused`."""


@dataclass(frozen=True)
class NemoKey:
    """An entry of the table."""

    name: str
    """The dotted key; with `.*` for all keys of a section that have no entry of their own."""
    fate: Fate
    here: str
    """What it is here, or why there is no such key: for the table in the docs, and for a refusal."""
    read: Read
    targets: tuple[str, ...] = ()
    """The keys of ours that it may set."""
    null_says_nothing: bool = False
    """Whether null stands for a key that is not given."""
    order: int = 0
    """Keys of a smaller number are read first: lengths, then how a batch grows, then batches, then what is in steps,
    then what compares."""


LENGTHS, RAMPS, BATCHES, DURATIONS, REST, COMPARED = range(-4, 2)


def same(
    name: str, here: str = "", values: Mapping[Any, Any] | None = None, no: Mapping[Any, str] | None = None
) -> NemoKey:
    """A key of ours of the same name and meaning.

    Args:
        values: NeMo's spellings of values, with ours.
        no: values that NeMo has and that cannot be had, with the reason.
    """

    def read(value: Any, settings: Settings) -> Outcome:
        value = as_value(value)
        for refused, why in (no or {}).items():
            if _equal(value, refused):
                raise Refused(why)
        for spelling, ours in (values or {}).items():
            if _equal(value, spelling):
                return Outcome({name: ours})
        return NOTHING

    return NemoKey(name, Fate.SAME, here or "the same", read, (name,))


def renamed(
    name: str, ours: str, values: Mapping[Any, Any] | None = None, note: str = "", order: int = REST
) -> NemoKey:
    """A key that has another name here; ``values`` are NeMo's spellings of values, with ours."""

    def read(value: Any, settings: Settings) -> Outcome:
        for spelling, translated in (values or {}).items():
            if _equal(as_value(value), spelling):
                return Outcome({ours: translated}, note)
        return Outcome({ours: value}, note)

    here = f"`{ours}`{': ' + note if note else ''}"
    return NemoKey(name, Fate.TRANSLATED, here, read, (ours,), null_says_nothing=True, order=order)


def translated(
    name: str, ours: tuple[str, ...], here: str, read: Read, order: int = REST, null_says_nothing: bool = True
) -> NemoKey:
    """A key whose value becomes another value, of one key or several."""
    return NemoKey(name, Fate.TRANSLATED, here, read, ours, null_says_nothing, order)


def anyway(name: str, so: tuple[Any, ...], why: str, otherwise: str = "") -> NemoKey:
    """A key whose value says what is so whatever is said.

    Args:
        so: the values that say it.
        why: what is so.
        otherwise: what to do for another value; what is so and to leave the key out, unless given.
    """
    shown = " or ".join(f"`{as_yaml(value)}`" for value in so)

    def read(value: Any, settings: Settings) -> Outcome:
        if any(_equal(as_value(value), each) for each in so):
            return NOTHING
        raise Refused(otherwise or f"{why}; leave it out")

    text = f"{shown}: {why}"
    return NemoKey(name, Fate.ANYWAY, f"{text}. Else: {otherwise}" if otherwise else text, read)


def matching(
    name: str, expected: Callable[[Settings], Any], why: str, otherwise: str, also: tuple[Any, ...] = ()
) -> NemoKey:
    """A key whose value says what is so where it equals what follows from other keys.

    Args:
        expected: gives what it has to be.
        otherwise: what to do for another value; ``{}`` stands for what it would have to be.
        also: further values that say it.
    """

    def read(value: Any, settings: Settings) -> Outcome:
        so = expected(settings)
        if any(_equal(as_value(value), each) for each in (so, *also)):
            return NOTHING
        raise Refused(otherwise.replace("{}", as_yaml(so)))

    return NemoKey(name, Fate.ANYWAY, f"{why}. Else: {otherwise.replace('{}', 'its value')}", read, order=COMPARED)


def unread(name: str, why: str) -> NemoKey:
    """A key that nothing reads, with NeMo neither, as long as another has the only value that it can have here."""
    return NemoKey(name, Fate.ANYWAY, f"any value: {why}", lambda value, settings: Outcome({}, why))


def with_fsdp(entry: NemoKey) -> NemoKey:
    """A key that is read, with NeMo too, under ``model.fsdp`` alone."""

    def read(value: Any, settings: Settings) -> Outcome:
        if not as_value(settings.get("model.fsdp")):
            return Outcome({}, "only model.fsdp=true reads it")
        return entry.read(value, settings)

    return replace(entry, here=f"with `model.fsdp`: {entry.here}", read=read)


def refused(name: str, why: str) -> NemoKey:
    """A key that cannot be had; ``{}`` in the reason stands for the value."""

    def read(value: Any, settings: Settings) -> Outcome:
        raise Refused(why.replace("{}", as_yaml(value)))

    return NemoKey(name, Fate.REFUSED, why.replace("{}", "VALUE"), read, null_says_nothing=True)


def section(name: str, why: str) -> NemoKey:
    """All keys of a section that have no entry of their own, which cannot be had."""
    return refused(f"{name}.*", why)


def unread_section(name: str, why: str) -> NemoKey:
    """All keys of a section that have no entry of their own, which nothing reads."""
    return unread(f"{name}.*", why)


def _equal(value: Any, other: Any) -> bool:
    if isinstance(value, bool) or isinstance(other, bool) or value is None or other is None:
        return value is other
    if isinstance(value, str) and isinstance(other, str):
        return value.lower() == other.lower()
    return bool(value == other)
