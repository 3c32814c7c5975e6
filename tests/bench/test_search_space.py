"""What a search may try is what the plan says will fit, and what it finds is what a run then has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from custom_modules.bench.search.guess import RATES, Rates, guess_step_seconds
from custom_modules.bench.search.machine import Machine
from custom_modules.bench.search.others import others_beside
from custom_modules.bench.search.prepared import check_prepared
from custom_modules.bench.search.space import Space
from custom_modules.bench.search.strategy import Failure, Search
from custom_modules.bench.search.trials import Held, Pass, Setting, Trial, differing, overrides, run_values
from custom_modules.config.load import load_config, load_training_config
from custom_modules.config.model_parts import Granularity
from custom_modules.config.schema import TrainingConfig
from custom_modules.config.stages import Curriculum
from custom_modules.errors import UserError
from custom_modules.plan.flops import find_gpu
from custom_modules.plan.memory import OUTSIDE_TORCH, fullest_device
from tests.support.tiny import TINY

GIB = 2**30
RECIPES = ("blockwise", "delayed", "tensorwise")
PLACED = "model.restore_from_path=runs/danube_1_8b"


def node(gpu: str = "H100", fp8: tuple[str, ...] = RECIPES) -> Machine:
    found = find_gpu(gpu)
    assert found is not None
    return Machine("gpu", gpu, 8, found.memory_bytes, fp8, True, {})


def cpu(gigabytes: int = 24) -> Machine:
    return Machine("cpu", "a processor", 2, gigabytes * GIB, (), False, {})


def space_of(name: str, *words: str, machine: Machine, held: tuple[str, ...] = ()) -> Space:
    config = load_training_config(name, words)
    return Space(config, machine, Held(held), tuple(config.stages))


def words_of(space: Space, setting: Setting, sizes: dict[str, Pass]) -> list[str]:
    return list(overrides(differing(space.config, run_values(space.config, setting, sizes, space.held))))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("danube_1_8b", []),
        ("danube_1_8b", ["trainer.devices=1"]),
        ("loki_1_4b", []),
        ("danube_sft", [PLACED]),
    ],
)
def test_what_is_tried_first_fits_a_node_and_as_a_run_has_it(name: str, words: list[str]) -> None:
    """Every stage at its largest micro-batch, loaded anew from the command line; FP8 and no tensor ranks come first."""
    space = space_of(name, *words, machine=node())
    room = 79 * GIB - OUTSIDE_TORCH
    for setting in (space.best_guess, *space.variations(space.best_guess)[:4]):
        sizes = {stage: space.passes(setting, stage)[-1] for stage in space.stages}
        config = load_training_config(name, [*words, *words_of(space, setting, sizes)])
        for stage in Curriculum.from_config(config).stages:
            assert stage.micro_batch_size == sizes[stage.name].micro_batch_size
            assert stage.recompute.granularity == sizes[stage.name].granularity
            assert fullest_device(config, stage, on_cpu=False).total <= room
    assert dict(space.best_guess)["model.fp8"] == "hybrid"
    assert dict(space.best_guess)["model.tensor_model_parallel_size"] == 1


def test_recomputation_is_the_least_that_fits() -> None:
    """By the plan's own figures, of each micro-batch with all that is less."""
    space = space_of("danube_1_8b", "trainer.devices=1", machine=node())
    setting = space.best_guess
    levels: list[Granularity | None] = [None, "selective", "full"]
    seen = set()
    for stage in space.stages:
        for size in space.passes(setting, stage):
            for less in levels[: levels.index(size.granularity)]:
                trial = Trial(setting, stage, size._replace(granularity=less))
                config = space.trial_config(trial)
                planned = fullest_device(config, Curriculum.from_config(config).stage(stage), on_cpu=False)
                assert planned.total > space.room
            seen.add(size.granularity)
    assert seen == set(levels)


def test_what_a_machine_has_not_is_not_tried() -> None:
    """A CPU and a GPU without FP8 have bf16 alone; the recipe's own FP8 is none of the choices."""
    for machine in (cpu(10_000), node("A100", ())):
        space = space_of("danube_1_8b", machine=machine)
        assert {dict(setting)["model.fp8"] for setting in space.settings} == {None}
    with pytest.raises(UserError, match=r"^model\.fp8=hybrid: a processor has no model\.fp8_recipe=delayed; set"):
        space_of("danube_1_8b", machine=cpu(), held=("model.fp8",))


def test_keys_of_the_command_line_are_held() -> None:
    held = {
        "model.tensor_model_parallel_size": 2,
        "model.optim.name": "distributed_fused_adam",
        "model.micro_batch_tokens": 8192,
    }
    words = [f"{key}={value}" for key, value in held.items()]
    space = space_of("danube_1_8b", *words, machine=node(), held=tuple(held))
    for setting in space.settings:
        values = dict(setting)
        assert (values["model.tensor_model_parallel_size"], values["model.optim.name"]) == (2, "distributed_fused_adam")
    sizes = {stage: space.passes(space.best_guess, stage) for stage in space.stages}
    assert all(len(passes) == 1 for passes in sizes.values())
    found = words_of(space, space.best_guess, {stage: passes[0] for stage, passes in sizes.items()})
    assert not [word for word in found if word.partition("=")[0].endswith(("micro_batch_tokens", "micro_batch_size"))]
    planned = Curriculum.from_config(load_config("danube_1_8b", [*words, *found])).stages
    assert [stage.micro_batch_size for stage in planned] == [sizes[stage.name][0].micro_batch_size for stage in planned]


def test_gradients_keep_their_precision() -> None:
    """FSDP adds bf16 gradients up in bf16: it is tried where the config has that."""
    with_fsdp = {
        dtype: any(
            dict(setting)["model.fsdp"]
            for setting in space_of("danube_1_8b", f"model.optim.grad_sync_dtype={dtype}", machine=node()).settings
        )
        for dtype in ("fp32", "bf16")
    }
    assert with_fsdp == {"fp32": False, "bf16": True}


def test_a_loss_in_chunks_is_tried_where_there_is_something_to_cut() -> None:
    """And never of an objective that may need all logits."""
    spaces = {
        "long": space_of("danube_rehearsal", machine=cpu()),
        "short": space_of("danube_rehearsal", "model.global_batch_tokens=2048", machine=cpu()),
        "sft": space_of("danube_sft_rehearsal", PLACED, machine=cpu()),
    }
    chunks = {
        name: {dict(setting)["model.cross_entropy_chunk_size"] for setting in space.settings if space.fits(setting)}
        for name, space in spaces.items()
    }
    assert chunks == {"long": {None, 2048}, "short": {None}, "sft": {None}}
    space = spaces["long"]
    cut = next(one for one in space.settings if dict(one)["model.cross_entropy_chunk_size"] and space.fits(one))
    assert [size.micro_batch_size for size in space.passes(cut, "stage1")] == [32]


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        (
            "danube_1_8b",
            ["trainer.devices=1", "model.num_layers=96"],
            r"^trainer\.devices=1: nothing fits into the 77\.0 GiB of a device \(H100\): by the plan stage4 needs "
            r"[\d.]+ GiB at least, with .*; divide the model over more devices, or lower "
            r"curriculum\.stages\.stage4\.encoder_seq_length$",
        ),
        (
            "danube_sft",
            [PLACED, "trainer.devices=1", "model.num_layers=96"],
            r"^trainer\.devices=1: nothing fits .*: by the plan sft needs .* or lower model\.encoder_seq_length$",
        ),
    ],
)
def test_nothing_fits(name: str, words: list[str], message: str) -> None:
    space = space_of(name, *words, machine=node())
    with pytest.raises(UserError, match=message) as refused:
        _ = space.best_guess
    smallest = float(str(refused.value).partition(" needs ")[2].partition(" GiB")[0])
    totals = []
    for setting in space.settings:
        config = space.trial_config(Trial(setting, space.stages[-1], Pass(1, "full")))
        stage = Curriculum.from_config(config).stages[-1]
        totals.append(fullest_device(config, stage, on_cpu=False).total)
    assert min(totals) / GIB == pytest.approx(smallest, abs=0.1)


def test_each_stage_keeps_what_it_was_found_with() -> None:
    """One micro-batch for all is the model's key, several are the stages'; keys in their way are taken out."""
    words = [
        "model.micro_batch_size=2",
        "curriculum.stages.stage2.micro_batch_size=4",
        "model.activations_checkpoint_granularity=full",
        "model.activations_checkpoint_method=block",
        "model.activations_checkpoint_num_layers=3",
    ]
    space = space_of("danube_1_8b", *words, machine=node())
    setting = space.best_guess
    alike = {stage: Pass(16_384 // space.seq_length(stage), None) for stage in space.stages}
    found = words_of(space, setting, alike)
    assert {word for word in found if "micro_batch" in word} == {
        "model.micro_batch_size=null",
        "curriculum.stages.stage2.micro_batch_size=null",
    }
    different: dict[str, Pass] = {**alike, "stage1": Pass(4, "selective"), "stage4": Pass(3, "full")}
    for sizes in (alike, different, {"stage1": Pass(4, None)}):
        config = load_config("danube_1_8b", [*words, *words_of(space, setting, sizes)])
        for stage in Curriculum.from_config(config).stages:
            size = sizes.get(stage.name)
            if size is None:
                before = Curriculum.from_config(space.config).stage(stage.name)
                assert (stage.micro_batch_size, stage.recompute) == (before.micro_batch_size, before.recompute)
            else:
                assert (stage.micro_batch_size, stage.recompute.granularity) == size


def whole(space: Space, truth: Rates) -> Search:
    """Measure everything by made-up rates."""

    class All(Search):
        def run(self) -> None:
            for setting in filter(space.fits, space.settings):
                for stage in space.stages:
                    for size in space.passes(setting, stage):
                        self._try(setting, stage, size)

    search = All(space, lambda trial: measured(space, trial, truth))
    search.run()
    return search


def measured(space: Space, trial: Trial, truth: Rates) -> float | Failure:
    config: TrainingConfig = space.trial_config(trial)
    stage = Curriculum.from_config(config).stage(trial.stage)
    return stage.global_batch_tokens / guess_step_seconds(config, stage, truth)


GPU = RATES["gpu"]
WRONG = {
    "slow links": Rates(GPU.flops, GPU.link / 30, GPU.memory, GPU.least_pass),
    "slow memory": Rates(GPU.flops, GPU.link, GPU.memory / 50, GPU.least_pass),
    "slow host": Rates(GPU.flops, GPU.link, GPU.memory, 20 * GPU.least_pass),
}


@pytest.mark.slow
@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_guess_costs_time_and_not_the_result(wrong: str) -> None:
    """On two GPUs, where the truth has other rates than the guess: the fastest of all, by part of the trials."""
    words = ["curriculum.stages.stage3=null", "curriculum.stages.stage2=null", "trainer.devices=2"]
    space = space_of("danube_1_8b", *words, machine=node("H100", ("tensorwise",)))
    trials: list[Trial] = []

    def measure(trial: Trial) -> float | Failure:
        trials.append(trial)
        return measured(space, trial, WRONG[wrong])

    search = Search(space, measure)
    search.run()
    everything = whole(space, WRONG[wrong])
    assert search.found[0].seconds <= 1.01 * everything.found[0].seconds
    assert len(set(trials)) < sum(map(len, everything._rates.values())) / 4


@pytest.mark.parametrize(
    ("device", "words", "length", "is_beside"),
    [
        ("NVIDIA H100 80GB HBM3", [], 2048, True),
        ("NVIDIA H200", ["model.fp8=null"], 2048, True),
        ("NVIDIA H100 80GB HBM3", [], 4096, False),
        ("NVIDIA H100 80GB HBM3", ["model.num_layers=12"], 2048, False),
        ("NVIDIA H100 PCIe", [], 2048, False),
        ("CPU", [], 2048, False),
    ],
)
def test_others_are_set_beside_their_like(device: str, words: Sequence[str], length: int, is_beside: bool) -> None:
    lines = list(others_beside(load_config("danube_1_8b", words), length, device))
    rates = [line.split()[0] for line in lines[1:]]
    assert rates == (["36,600", "43,000", "52,000"] if is_beside else [])


def test_prepared_data_that_is_too_short(prepared: Path) -> None:
    config = load_config("danube_rehearsal", [*TINY, f"data.dir={prepared}"])
    check_prepared(config, ["stage1"])
    with pytest.raises(
        UserError, match=r"^data\.dir=.*: too short to time stage2: .* has \d+ sequences of 64 tokens, "
    ):
        check_prepared(
            load_config("danube_rehearsal", [*TINY, f"data.dir={prepared}", "model.global_batch_tokens=25600"]),
            ["stage2"],
        )
