"""The command: who measures what, and what is printed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from custom_modules.bench.row import Row, whole_curriculum
from custom_modules.bench.run import Request, Stopped, measure_here, measure_into, measure_variants
from custom_modules.bench.table import as_json, render
from custom_modules.bench.variants import AS_CONFIGURED, Variant, choose_variants, parse_variant
from custom_modules.config.schema import TrainingConfig
from custom_modules.errors import UserError
from custom_modules.platform.environment import import_megatron_for
from custom_modules.platform.launch import check_single_node
from custom_modules.platform.world import World
from custom_modules.text import say


def bench(request: Request, given: Sequence[str], json: bool, world: World, into: Path | None) -> int:
    """Measure and print; returns the exit code.

    Args:
        given: variants, as on the command line. In processes that a launcher has started, one at most.
        into: in a process that `measure_variants` has started: the folder for its result.

    Raises:
        UserError: nothing can be measured, or not all of it was.
    """
    if into is not None:
        config = request.load(AS_CONFIGURED)
        import_megatron_for(config)
        return measure_into(config, request.stages[0], request, world.rank, into)
    rows: list[Row] = []
    if world.is_launched:
        if len(given) > 1:
            raise UserError(
                f"--variant {given[1]}: {world.source} has started processes for one; call it once for each"
            )
        variant = parse_variant(given[0]) if given else AS_CONFIGURED
        configs = {variant: request.load(variant)}
        import_megatron_for(configs[variant])
        measured = measure_here(configs[variant], variant, request)
    else:
        variants = choose_variants(request.load(AS_CONFIGURED), given)
        configs = {variant: request.load(variant) for variant in variants}
        for config in configs.values():
            check_single_node(config.trainer.num_nodes)
        measured = measure_variants(request, configs)
    try:
        for row in measured:
            rows.append(row)
            if world.rank == 0:
                phase = f" phase {row.phase} of {row.phases}" if row.phases > 1 else ""
                say(f"{row.stage}{phase}, {row.variant}: {_in_short(row)}")
    except Stopped as stopped:
        return stopped.exit_code
    finally:
        if world.rank == 0 and rows:
            _print(request, configs, rows, json)
    failed = [f"{row.variant} in {row.stage}" for row in rows if row.problem and not row.is_out_of_memory]
    if failed:
        raise UserError(f"bench: no figures of {', '.join(failed)}; the table says why")
    return 0


def _in_short(row: Row) -> str:
    if row.figures:
        return f"{row.figures.tokens_per_second:,.0f} tokens/s"
    return f"{row.problem}: {row.advice}" if row.advice else str(row.problem)


def _print(request: Request, configs: dict[Variant, TrainingConfig], rows: Sequence[Row], json: bool) -> None:
    averages = {
        variant.name: whole_curriculum(config, [row for row in rows if row.variant == variant.name])
        for variant, config in configs.items()
    }
    if json:
        print(as_json(rows, averages, request.warmup))
    else:
        print("\n".join(render(rows, averages, request.warmup)))
