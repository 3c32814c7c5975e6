"""A suite's tasks: EleutherAI's over plain folders, and a user's own items."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from custom_modules.errors import UserError
from custom_modules.tasks import protocol as paper
from custom_modules.tasks.data_folder import DataFolder
from custom_modules.tasks.harness import leaves
from custom_modules.tasks.items import Task
from custom_modules.tasks.library_task import ChatTemplate, LibraryTask, Settings
from custom_modules.tasks.own_items import OwnItems
from custom_modules.tasks.suite import Entry, ProtocolName, Suite


def load_tasks(
    suite: Suite,
    data: Path,
    limit: int | None = None,
    protocol: ProtocolName | None = None,
    only: Collection[str] | None = None,
    chat_template: ChatTemplate | None = None,
) -> list[Task]:
    """Return a suite's tasks in its order, a group as its leaves; items are made when they are first asked for.

    Args:
        data: the folder that the data sets were fetched into.
        limit: the most items of each leaf; with it, data of fewer documents than are known will do. None: all, and
            every split has to be whole.
        protocol: another than the suite's.
        only: names of the suite's tasks; None for all.
        chat_template: applied to every prompt; None: none, as in the reports.

    Raises:
        UserError: a task that is not in the suite, the library or the protocol, a metric that it does not have, or data
            that is missing, not what was fetched, or not of this form; or the library is not installed.
    """
    for name in only or ():
        if name not in (there := [entry.task for entry in suite.entries]):
            raise UserError(f"{name}: no task of the suite {suite.name}; there are: {', '.join(there)}")
    chosen = [entry for entry in suite.entries if only is None or entry.task in only]
    folder = DataFolder(data)
    settings = Settings(folder, limit, protocol or suite.protocol, chat_template)
    return [task for entry in chosen for task in _tasks(entry, settings)]


def _tasks(entry: Entry, settings: Settings) -> Iterator[Task]:
    if entry.file:
        yield OwnItems(entry, settings.limit)
        return
    for name, config in leaves(entry.task):
        if settings.protocol == "paper" and not paper.is_known(name):
            raise UserError(f"{entry.task}: the protocol of the reports does not have this task; use protocol: current")
        yield LibraryTask(name, entry, config, settings)
