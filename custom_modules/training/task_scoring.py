"""``trainer.evaluate``: tasks that a run is scored on between its steps, through the engine's own forward pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from custom_modules.config.evaluate import EvaluateConfig
from custom_modules.config.schema import Config
from custom_modules.config.stages import Curriculum
from custom_modules.data.manifest import Manifest
from custom_modules.plan.flops import ALL_SEEN, Pairs
from custom_modules.plan.tasks import plan_tasks, scoring_flops
from custom_modules.platform import Platform
from custom_modules.platform.rank_0 import on_rank_0
from custom_modules.scoring.encoding import PlainEncoder
from custom_modules.scoring.rows import Rows
from custom_modules.scoring.run_model import RunModel, data_parallel_ranks, shapes_here
from custom_modules.scoring.scorer import score_rows
from custom_modules.tasks.items import Answer, Grade, Task
from custom_modules.tasks.of_run import KEY, PROTOCOL, tasks_of
from custom_modules.tasks.summary import summarise_grades
from custom_modules.text import human_duration
from custom_modules.tokenizer import load_tokenizer
from custom_modules.training.engine import Engine
from custom_modules.training.task_scores import TaskScores
from custom_modules.training.undisturbed import undisturbed


class TaskScoring:
    """A run's tasks, whose prompts are built and encoded once, on rank 0. Collective.

    Args:
        options: which tasks, of which data.
        config: the run.
        manifest: of the data that it trains on, for its tokenizer.
        platform: already running.

    Raises:
        UserError: a task that there is not or that texts are generated for, or data that is not there.
    """

    def __init__(self, options: EvaluateConfig, config: Config, manifest: Manifest, platform: Platform) -> None:
        self.options = options
        self.max_length = Curriculum.from_config(config).max_seq_length
        self._platform = platform
        self._group = config.model.micro_batch_group
        self._tasks: Sequence[Task] = ()
        shapes = shapes_here(platform)

        def build() -> Rows:
            self._tasks = tasks_of(options)
            encoder = PlainEncoder(load_tokenizer(manifest.tokenizer.library, manifest.tokenizer_file))
            items = [item for task in self._tasks for item in task.items]
            return Rows(items, encoder, self.max_length, shapes)

        begun = time.monotonic()
        self.rows: Rows = on_rank_0(build)
        self.seconds_to_build = time.monotonic() - begun
        self.tokens = sum(one.length * one.count for one in self.rows.passes)

    def announce(
        self, config: Config, consumed_tokens: int, say: Callable[[str], None], pairs: Pairs = ALL_SEEN
    ) -> None:
        """Say what the scorings are, and what share of the time that is left they take by their FLOPs.

        Args:
            pairs: that attention sees in training.
        """
        flops = sum(scoring_flops(config, one.count, one.length) for one in self.rows.passes)
        plan = plan_tasks(config, consumed_tokens, flops, pairs)
        items = len(self.rows.places)
        say(
            f"{KEY}: {', '.join(self.options.tasks)}, without examples: {items:,} items, {self.rows.tokens:,} tokens, "
            f"{self.tokens:,} with what fills {len(self.rows.passes):,} passes up; built in "
            f"{human_duration(self.seconds_to_build)}; scored {plan.times:,} times "
            f"from here on, by FLOPs {plan.share:.2%} of the time that is left"
        )

    def score(self, engine: Engine) -> TaskScores | None:
        """Score the model as it is, and leave the engine as it was. Collective.

        Returns:
            What was found, on rank 0; None on the others.
        """
        begun = time.monotonic()
        model = RunModel(engine.models, self._platform, self.max_length, self._group)
        with undisturbed(engine):
            found = score_rows(self.rows, model, data_parallel_ranks())
        if not self._tasks:
            return None
        accuracy, bits = self._grade(self.rows.answers(found))
        return TaskScores(accuracy, bits, len(self.rows.places), self.tokens, time.monotonic() - begun)

    def _grade(self, answers: Sequence[tuple[Answer, ...]]) -> tuple[dict[str, float], dict[str, float]]:
        """Return each task's accuracy, and its right answers' bits per byte where it has one right answer."""
        each = iter(answers)
        grades: dict[str, dict[str, list[Grade]]] = {}
        metrics: dict[str, str] = {}
        for task in self._tasks:
            grades.setdefault(task.group, {})[task.name] = [task.grade(item, next(each)) for item in task.items]
            metrics[task.group] = task.metric
        found = {name: summarise_grades(leaves, metrics[name], PROTOCOL) for name, leaves in grades.items()}
        accuracy = {name: summary.value for name, summary in found.items()}
        bits = {name: summary.bits_per_byte for name, summary in found.items()}
        return accuracy, {name: value for name, value in bits.items() if value is not None}
