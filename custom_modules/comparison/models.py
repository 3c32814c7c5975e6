"""What is compared: exports as they are, and checkpoints, which are exported for as long as they are asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from custom_modules.conversion.hf_export import to_hf
from custom_modules.conversion.sample import Sampler
from custom_modules.errors import UserError
from custom_modules.run_folder import checkpoint_files
from custom_modules.run_folder.best import best_of_run
from custom_modules.run_folder.checkpoint_files import Checkpoint


@dataclass(frozen=True)
class Compared:
    """A model that answers.

    Attributes:
        name: what a page calls it.
        path: of an export's folder, or of a checkpoint's.
    """

    name: str
    path: Path
    is_export: bool

    @contextmanager
    def sampler(self, room: Path) -> Iterator[Sampler]:
        """Load it; a checkpoint's export is written below ``room`` and removed again.

        Raises:
            UserError: it cannot be loaded.
        """
        if self.is_export:
            yield Sampler(self.path)
            return
        with TemporaryDirectory(dir=room, prefix=".export-") as folder:
            to_hf(self.path, Path(folder) / "model")
            yield Sampler(Path(folder) / "model")


def find_compared(sources: Sequence[Path]) -> list[Compared]:
    """Find the models that some folders stand for, each once, in the order given.

    Args:
        sources: an export's folder; a checkpoint's; or a run's, for its newest checkpoint and those it keeps for their
            loss.

    Raises:
        UserError: one of them is neither, or they are fewer than two.
    """
    found = {compared.path.resolve(): compared for source in sources for compared in _of(source)}
    if len(found) < 2:
        raise UserError(
            f"--compare {' '.join(map(str, sources))}: that is {len(found)} model; give two or more exports, runs or "
            "checkpoints"
        )
    return list(found.values())


def _of(source: Path) -> Iterator[Compared]:
    if (source / "config.json").is_file():
        yield Compared(str(source), source, is_export=True)
        return
    newest = checkpoint_files.resolve(source, verify_contents=False)
    kept = [] if newest.path == source else best_of_run(source)
    for checkpoint in {checkpoint.path: checkpoint for checkpoint in (newest, *kept)}.values():
        yield Compared(_name(checkpoint), checkpoint.path, is_export=False)


def _name(checkpoint: Checkpoint) -> str:
    loss = checkpoint.progress.reduced_train_loss
    said = "" if loss is None else f", training loss {loss:.4f}"
    return f"{checkpoint.path} ({checkpoint.consumed_tokens:,} tokens{said})"
