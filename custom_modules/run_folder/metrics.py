"""``metrics.jsonl``, written and read: a line for each log line, each validation and each scoring of tasks.

TensorBoard events are written beside it.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from custom_modules.errors import UserError
from custom_modules.files import explained, whole_files

METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"


@dataclass(frozen=True, kw_only=True)
class TrainMetrics:
    """The steps since the last log line."""

    kind: ClassVar[str] = "train"
    step: int
    tokens: int
    """Trained so far, over all stages."""
    stage: str
    seq_length: int
    loss: float
    """The mean in nats a token: of the ground truth, also of distilled steps."""
    objective: float | None = None
    """The mean in nats of what the distilled ones among them were trained on; None where there was none."""
    wins: dict[str, float] | None = None
    """By target, ``ground_truth`` and the teachers: its share of what the objective is the smallest of."""
    learning_rate: float | None
    grad_norm: float | None = None
    tokens_per_second: float | None
    """Over all devices."""
    mfu: float | None = None
    """The share of the devices' peak FLOPs; None where their peak is not known."""
    preferences: dict[str, float] | None = None
    """The means of `PREFERENCES` over a DPO run's steps; None in other kinds of runs."""
    elapsed_seconds: float | None = None
    """Since this process of the run began."""


@dataclass(frozen=True, kw_only=True)
class ValidationMetrics:
    """One validation."""

    kind: ClassVar[str] = "validation"
    step: int
    tokens: int
    """Trained so far, over all stages."""
    stage: str
    seq_length: int
    loss: float
    """The mean in nats a token."""
    bits_per_byte: float | None = None
    """Of the text that was scored, so that models of different vocabularies can be compared."""
    sources: dict[str, float] | None = None
    """The mean in nats a token of each source, where sources have names."""
    preferences: dict[str, float] | None = None
    """The means of `PREFERENCES` over a DPO run's held-out pairs; None in other kinds of runs."""


@dataclass(frozen=True, kw_only=True)
class EvaluationMetrics:
    """One scoring of ``trainer.evaluate``'s tasks."""

    kind: ClassVar[str] = "evaluation"
    step: int
    tokens: int
    """Trained so far, over all stages."""
    stage: str
    accuracy: dict[str, float]
    """By task, in the metric that it is reported in, as a fraction."""
    bits_per_byte: dict[str, float]
    """Of the right answers, by task; without the tasks that have not one right answer."""
    items: int
    scored_tokens: int
    """What was passed through the model, with what fills its passes up."""
    evaluation_seconds: float
    share_of_time: float
    """Of all scorings so far of this process's time so far."""


Metrics = TrainMetrics | ValidationMetrics
"""What has a loss."""

Record = Metrics | EvaluationMetrics

PREFERENCES = ("accuracy", "margin", "reward_chosen", "reward_rejected", "logp_chosen", "logp_rejected")
"""What is told of pairs of answers: the share whose chosen one is rewarded more, by how much more, each side's reward
(beta times how far the model's log-probability is above the reference's), and these log-probabilities."""

_OF_SOME = ("objective", "wins", "preferences")
"""What stands in a line only where a step was distilled, or of pairs."""

_Kind = type[TrainMetrics] | type[ValidationMetrics] | type[EvaluationMetrics]
_KINDS: dict[str, _Kind] = {record.kind: record for record in (TrainMetrics, ValidationMetrics, EvaluationMetrics)}
_READ: dict[str, Callable[[Any], Any]] = {
    "int": int,
    "str": str,
    "float": lambda value: math.nan if value is None else float(value),
    "float | None": lambda value: None if value is None else float(value),
    "dict[str, float]": lambda value: {str(k): float(v) for k, v in value.items()},
    "dict[str, float] | None": lambda value: None if value is None else {str(k): float(v) for k, v in value.items()},
}
"""How a field is read, by its annotation."""


class MetricsWriter:
    """Appends to a run's metrics. Only rank 0 has one.

    Args:
        run_dir: the run's folder.
        consumed_tokens: where the run goes on from; lines that a killed run wrote beyond it are dropped, because those
            steps are trained again.
        tensorboard: write event files too.

    Raises:
        UserError: the lines to keep cannot be written.
    """

    def __init__(self, run_dir: Path, consumed_tokens: int, tensorboard: bool) -> None:
        self.path = run_dir / METRICS
        self._events = run_dir / TENSORBOARD
        _drop_lines_beyond(self.path, consumed_tokens)
        with explained(self.path):
            self._stream = self.path.open("a")
        self._tensorboard: Any = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            _leave_events_to_us()
            with explained(self._events):
                self._tensorboard = SummaryWriter(self._events, purge_step=consumed_tokens + 1)

    def write(self, record: Record) -> None:
        """Append one record; numbers go to TensorBoard under ``kind/name``, by tokens.

        Raises:
            UserError: a file cannot be written.
        """
        values = {name: value for name, value in asdict(record).items() if value is not None or name not in _OF_SOME}
        with explained(self.path):
            self._stream.write(json.dumps({"kind": record.kind, **values}) + "\n")
            self._stream.flush()
        if self._tensorboard is None:
            return
        with explained(self._events):
            for name, value in values.items():
                numbers = value if isinstance(value, dict) else {"": value}
                for key, number in numbers.items():
                    if isinstance(number, int | float) and name not in ("tokens", "step"):
                        scalar = f"{record.kind}/{name}{key and '/'}{key}"
                        self._tensorboard.add_scalar(scalar, number, record.tokens)

    def close(self) -> None:
        """Close the files.

        Raises:
            UserError: what waits to be written cannot be.
        """
        with explained(self.path):
            self._stream.close()
        if self._tensorboard is not None:
            with explained(self._events):
                self._tensorboard.close()


def _leave_events_to_us() -> None:
    """Print no traceback for TensorBoard's own thread: what stopped it is raised where the next event is written."""
    before = threading.excepthook

    def hook(failure: threading.ExceptHookArgs) -> None:
        if not (isinstance(failure.exc_value, OSError) and type(failure.thread).__name__ == "_AsyncWriterThread"):
            before(failure)

    threading.excepthook = hook


def read_metrics(run_dir: Path, name: str = METRICS) -> list[Record]:
    """Read a run's metrics, in the order they were written; records of other kinds are passed over.

    The last line may be incomplete: the run may be writing it.

    Args:
        name: of the file.

    Raises:
        UserError: no metrics, or a line that is not one of ours.
    """
    path = run_dir / name
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise UserError(f"{path}: cannot read the run's metrics ({error.strerror}); give a run's folder") from None
    records: list[Record] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            plain = json.loads(line)
            kind = _KINDS.get(plain["kind"])
            record = _record(kind, plain) if kind else None
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            if number == len(lines):
                break
            raise UserError(f"{path}:{number}: not a metrics record ({error!r}); remove that line") from None
        if record:
            records.append(record)
    return records


def _record(kind: _Kind, plain: Mapping[str, Any]) -> Record:
    missing = [field.name for field in fields(kind) if field.default is MISSING and field.name not in plain]
    if missing:
        raise LookupError(f"no {missing[0]}")
    known = [field for field in fields(kind) if field.name in plain]
    return kind(**{field.name: _READ[str(field.type)](plain[field.name]) for field in known})


def lines_beyond(path: Path, consumed_tokens: int) -> list[bytes]:
    """Return the whole lines of a file of metrics that come from later than so many tokens.

    Raises:
        UserError: it cannot be read.
    """
    return [line for line, tokens in _lines(path) if tokens > consumed_tokens]


def _drop_lines_beyond(path: Path, consumed_tokens: int) -> None:
    if path.is_file():
        whole_files({path: b"".join(line for line, tokens in _lines(path) if tokens <= consumed_tokens)})


def _lines(path: Path) -> list[tuple[bytes, int]]:
    """Return the whole lines of a file with their tokens; none where there is no file."""
    if not path.is_file():
        return []
    with explained(path):
        lines = path.read_bytes().splitlines()
    found = []
    for line in lines:
        with suppress(ValueError, LookupError, TypeError):
            found.append((line + b"\n", int(json.loads(line)["tokens"])))
    return found
