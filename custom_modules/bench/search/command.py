"""`danube bench --search`: what it prints and writes."""

from __future__ import annotations

from custom_modules.bench.search.report import as_json, choose_winner, render, write_winner
from custom_modules.bench.search.run import SearchRequest, searched
from custom_modules.config.kinds import config_kind
from custom_modules.errors import UserError
from custom_modules.platform.world import World
from custom_modules.text import say


def search(request: SearchRequest, json: bool, world: World) -> int:
    """Search, print what was found and, into ``--output``, write it; returns the exit code.

    Raises:
        UserError: it cannot be begun, or nothing was measured in every stage.
    """
    with searched(request, world) as progress:
        space, records = progress.space, progress.records
        found = progress.replay()[0].found
        if not found:
            if progress.exit_code:
                say("stopped before every stage was measured")
                return progress.exit_code
            problems = [measured for measured in records.measured if measured.problem]
            if problems and len(problems) == len(records.measured):
                raise UserError(f"--search: nothing runs: {problems[0].advice or problems[0].problem}")
            more = "the same command goes on with" if request.output else "give"
            raise UserError(
                f"--minutes {request.minutes:g}: no setting was measured in every stage by then; {more} more minutes"
            )
        winner = choose_winner(space, records, found[0])
        written = write_winner(winner, space.machine, request.output) if request.output else None
        if json:
            print(as_json(space, records, found, winner, written))
        else:
            print("\n".join(render(space, records, found, winner, written, config_kind(space.config))))
        return progress.exit_code
