"""What an evaluation is of: all that tells its results, and its answers, from another's."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from typing import Any

from custom_modules.evaluation.processes import Processes
from custom_modules.evaluation.request import Request
from custom_modules.evaluation.results import Results, as_plain
from custom_modules.evaluation.subject import Subject
from custom_modules.files import sha256_of
from custom_modules.tasks.data_folder import MANIFEST
from custom_modules.tasks.suite import ProtocolName, Suite

_LIBRARIES = ("lm-eval", "torch", "transformers", "megatron-core", "tokenizers", "datasets")
_OF_ANSWERS = ("weights", "tokenizer", "dtype", "protocol", "chat_template", "kind", "device")


@dataclass(frozen=True)
class Identity:
    """A model, a suite, and how the one is asked the other."""

    subject: Subject
    request: Request
    suite: Suite
    processes: Processes

    @property
    def protocol(self) -> ProtocolName:
        """The one asked for, else the suite's own."""
        return self.request.protocol or self.suite.protocol

    def of_results(self) -> dict[str, Any]:
        """Return what `Results` has beside figures, counts and seconds."""
        subject, request = self.subject, self.request
        return {
            "suite": self.suite.name,
            "protocol": self.protocol,
            "model": str(subject.named),
            "kind": subject.kind,
            "consumed_tokens": subject.consumed_tokens,
            "weights": subject.weights,
            "tokenizer": subject.encoder(request.chat_template).key(),
            "chat_template": request.chat_template,
            "is_chat": subject.is_chat,
            "dtype": self.processes.dtype(),
            "device": self.processes.device_name,
            "limit": request.limit,
            "averages": {average.name: [*average.tasks] for average in self.suite.averages},
            "versions": self._versions(),
        }

    def of_answers(self) -> dict[str, Any]:
        """Return all that answers depend on beside what the model reads."""
        plain = self.of_results()
        return {
            **{name: plain[name] for name in _OF_ANSWERS},
            "max_length": self.subject.max_length,
            "shapes": dict(self.processes.shapes.key()),
            "layout": dict(self.processes.layout),
            "torch": plain["versions"]["torch"],
        }

    def is_of(self, results: Results) -> bool:
        """Tell whether results are of this, by the same data and versions; never of own items, which may be others."""
        entries = [
            entry for entry in self.suite.entries if self.request.only is None or entry.task in self.request.only
        ]
        if any(entry.file for entry in entries):
            return False
        wanted = [(entry.task, entry.num_fewshot, entry.metric) for entry in entries]
        found = [(task.task, task.num_fewshot, task.metric) for task in results.tasks]
        plain = as_plain(results)
        return found == wanted and all(plain[name] == value for name, value in self.of_results().items())

    def _versions(self) -> dict[str, str]:
        found = {}
        for name in _LIBRARIES:
            try:
                found[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue
        manifest = self.request.data / MANIFEST
        if manifest.is_file():
            found["data"] = sha256_of(manifest)
        return found
