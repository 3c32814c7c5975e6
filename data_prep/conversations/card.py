"""``data_card.md`` and ``data_card.html`` of conversations and pairs: what they are of, what was dropped and why."""

from __future__ import annotations

from collections.abc import Iterator

from custom_modules.data.chat_manifest import ChatManifest
from custom_modules.data.layout import CARD, REMOVED
from custom_modules.files import whole_files
from custom_modules.text import spelled
from data_prep.conversations.account import by_source, cuts
from data_prep.output.card_format import Table, html, markdown
from data_prep.work.shard import add_up


def write_card(name: str, manifest: ChatManifest) -> None:
    """Publish both files in ``data.dir``.

    Args:
        name: the recipe's.

    Raises:
        UserError: a file cannot be written.
    """
    tables = [*_damaged(manifest), _sources(manifest), _dropped(manifest), _cuts(manifest), _splits(manifest)]
    title = f"Data of {name}"
    pages = (markdown(title, tables), html(title, tables))
    whole_files({manifest.directory / file: page.encode() for file, page in zip(CARD, pages, strict=True)})


def _damaged(manifest: ChatManifest) -> Iterator[Table]:
    if number := manifest.damaged.get("files", 0):
        text = f"{number:,} could not be read, whole or in part; what could be read is kept."
        yield Table("Damaged files", text, [("file",), *((name,) for name in manifest.damaged["named"])])


def _sources(manifest: ChatManifest) -> Table:
    header = ("source", "set", "files", "MB", "records read", "kept", "joined", "dropped", "trained on", "held out")
    rows: list[tuple[str, ...]] = [header]
    sets = {one["name"]: one["format"] for one in manifest.options["sources"]}
    for name, files in by_source(manifest).items():
        size = sum(file["bytes"] for file in files) / 1e6
        read, kept, joined = (sum(file[key] for file in files) for key in ("read", "kept", "joined"))
        numbers = [read, kept, joined, read - kept - joined]
        numbers += [entry.sources[name] for entry in manifest.splits.values()]
        rows.append((name, sets[name], f"{len(files):,}", f"{size:,.1f}", *(f"{number:,}" for number in numbers)))
    text = (
        "Every record that was read is kept, joined to one (the messages of a tree to the one that their conversation "
        "is counted with), or dropped."
    )
    return Table("Sources", text, rows)


def _dropped(manifest: ChatManifest) -> Table:
    rows = [("step", "reason", "source", "records", "of all read")]
    for name, files in by_source(manifest).items():
        read = sum(file["read"] for file in files)
        for step, reasons in add_up(file["removed"] for file in files).items():
            for reason, number in sorted(reasons.items(), key=lambda one: -one[1]):
                rows.append((step, reason, name, f"{number:,}", f"{number / read:.2%}"))
        if skipped := sum(file["skipped"] for file in files):
            rows.append(("reading", "cannot be read", name, f"{skipped:,}", f"{skipped / read:.2%}"))
    text = f"They are in {REMOVED}/ with source, line and reason, but for what was not drawn or could not be read."
    if manifest.skipped["first"]:
        text += f" The first that could not be read: {'; '.join(map(spelled, manifest.skipped['first']))}."
    return Table("Dropped records", text, rows) if len(rows) > 1 else Table("Dropped records", "None.", [])


def _cuts(manifest: ChatManifest) -> Table:
    rows = [("source", "what was cut", "samples")]
    for name, files in by_source(manifest).items():
        rows += [(name, cut, f"{number:,}") for cut, number in cuts(files).items()]
    length = manifest.options["encoder_seq_length"]
    text = f"Samples have {length:,} tokens at most."
    return Table("Cut samples", text if len(rows) > 1 else f"None: {text}", rows if len(rows) > 1 else [])


def _splits(manifest: ChatManifest) -> Table:
    rows = [("split", "samples", "tokens", "of answers", "longest", *by_source(manifest))]
    for split, entry in manifest.splits.items():
        numbers = (entry.samples, entry.tokens, entry.answer_tokens, entry.longest, *entry.sources.values())
        rows.append((split, *(f"{number:,}" for number in numbers)))
    return Table("Splits", "What is held out is so by a hash of its first question.", rows)
