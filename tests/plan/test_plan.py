"""The plan's figures against the design's table, its text, and what it must not import."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from custom_modules.config.learning_rate import learning_rate
from custom_modules.config.load import load_config
from custom_modules.config.sft import SftConfig
from custom_modules.config.stages import Curriculum
from custom_modules.errors import UserError
from custom_modules.plan.memory import fullest_device
from custom_modules.plan.plan import Plan, build_plan
from custom_modules.plan.remedies import remedies
from custom_modules.plan.render import as_json, render_text
from custom_modules.plan.room import checkpoints_to_come

HEAVY = ("torch", "numpy", "megatron", "transformers", "matplotlib")


def plan_of(*overrides: str, name: str = "danube_1_8b", mfu: float | None = None, gpu: str | None = None) -> Plan:
    return build_plan(load_config(name, overrides), mfu=mfu, gpu=gpu)


@pytest.fixture(scope="module")
def recipe() -> Plan:
    return plan_of()


def test_the_table_of_the_design(recipe: Plan) -> None:
    assert recipe.parameters == recipe.padded_parameters == 1_831_201_280
    assert [stage.token_budget for stage in recipe.stages] == [700 * 10**9, *[100 * 10**9] * 3]
    assert [stage.seq_length for stage in recipe.stages] == [2048, 4096, 8192, 16384]
    assert [stage.global_batch_size for stage in recipe.stages] == [576, 288, 144, 72]
    assert [stage.whole_steps for stage in recipe.stages] == [593_397, 84_771, 84_771, 84_771]
    assert [stage.steps for stage in recipe.stages] == [593_398, 84_772, 84_772, 84_772]
    assert sum(stage.exact_steps for stage in recipe.stages) == pytest.approx(847_710.5, abs=0.01)
    assert recipe.total_steps == 847_714
    assert recipe.warmup_tokens / recipe.global_batch_tokens == 2000
    assert (recipe.peak_learning_rate, recipe.min_learning_rate) == (2e-4, 1e-5)


def test_every_stage_adds_up(recipe: Plan) -> None:
    clock = 0
    for stage in recipe.stages:
        assert stage.start_tokens == clock
        clock = stage.end_tokens
        assert stage.steps * recipe.global_batch_tokens == stage.trained_tokens == stage.end_tokens - stage.start_tokens
        assert stage.trained_tokens == stage.token_budget + stage.extra_tokens
        assert stage.micro_batch_size * stage.num_microbatches * recipe.data_parallel_size == stage.global_batch_size
        assert stage.dataset_bytes == 2 * stage.trained_tokens
    assert clock == recipe.total_tokens
    assert sum(stage.flops for stage in recipe.stages) == recipe.flops


def test_learning_rates_are_of_a_stages_first_and_last_step(recipe: Plan) -> None:
    optim = load_config("danube_1_8b").model.optim
    first, last = recipe.stages[0], recipe.stages[-1]
    assert first.first_learning_rate == pytest.approx(1e-7, rel=1e-12)
    assert last.last_learning_rate == 1e-5
    for stage, following in pairwise(recipe.stages):
        assert stage.last_learning_rate == learning_rate(optim, stage.end_tokens, recipe.total_tokens)
        assert stage.last_learning_rate > following.first_learning_rate
        assert stage.last_learning_rate == pytest.approx(following.first_learning_rate, rel=1e-3)


def test_the_reports_throughput_as_mfu(recipe: Plan) -> None:
    a_gpu = 292_700 / 8
    assert recipe.reported is not None
    assert a_gpu == pytest.approx(36_600, rel=1e-3)
    assert recipe.reported.mfu_without_attention == pytest.approx(6 * 1_831_201_280 * a_gpu / 989.4e12, rel=1e-12)
    assert recipe.reported.mfu_without_attention == pytest.approx(0.41, abs=0.005)
    assert recipe.reported.mfu == pytest.approx(recipe.flops / recipe.total_tokens * a_gpu / 989.4e12, rel=1e-12)
    assert recipe.reported.mfu_without_attention < recipe.reported.mfu < 0.45


def test_by_default_the_recipe_takes_as_long_as_the_report_says(recipe: Plan) -> None:
    assert recipe.tokens_per_second == pytest.approx(292_700, rel=1e-12)
    assert recipe.device_hours == pytest.approx(8 * recipe.total_tokens / 292_700 / 3600, rel=1e-12)
    assert sum(stage.device_hours or 0 for stage in recipe.stages) == pytest.approx(recipe.device_hours, rel=1e-12)


def test_hours_at_a_given_mfu_and_device() -> None:
    plan = plan_of(mfu=0.5, gpu="A100")
    assert plan.device_hours == pytest.approx(plan.flops / (312e12 * 0.5) / 3600, rel=1e-12)
    own = plan_of("trainer.peak_tflops=100", mfu=0.5)
    assert own.device_hours == pytest.approx(plan.flops / (100e12 * 0.5) / 3600, rel=1e-12)
    assert plan_of("trainer.peak_tflops=100", gpu="A100", mfu=0.5).device_hours == plan.device_hours


def test_no_hours_are_made_up_for_a_cpu() -> None:
    plan = plan_of(name="danube_rehearsal")
    assert (plan.speed, plan.device_hours, plan.tokens_per_second) == (None, None, None)
    assert "--gpu" in render_text(plan)
    assert plan_of(name="danube_rehearsal", gpu="H200").device_hours


@pytest.mark.parametrize("mfu", [0.0, -0.1, 41.0, float("nan")])
def test_an_mfu_is_a_fraction(mfu: float) -> None:
    with pytest.raises(UserError, match=r"--mfu .*0\.4"):
        plan_of(mfu=mfu)


def test_an_unknown_gpu_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"--gpu T4: .*H100 SXM.*trainer\.peak_tflops"):
        plan_of(gpu="T4")


def test_the_text_says_what_was_decided_and_why(recipe: Plan) -> None:
    text = render_text(recipe)
    for words in (
        "1,831,201,280",
        "576 sequences/step = 1,179,648 tokens / 2,048",
        "accumulation 9 = 576 sequences / (8 a micro-batch x 8 data parallel)",
        "micro-batch 8: the largest up to 16,384 tokens / 2,048 that divides the 72 sequences of a device",
        "593,398 steps = 700,000,000,000 tokens / 1,179,648 = 593,397.352, rounded up: 763,904 tokens more",
        "2,359,296,000 tokens = 2,000 steps",
        "292,700 tokens/s on 8 x H100 SXM (section 4), 36,587.5 a GPU: MFU 43.1%",
        "assumed: what the paper's throughput implies",
        "not measured on a GPU yet",
        "every stage fits the 79 GiB of H100 SXM",
        "danube prepare",
    ):
        assert words in text, words
    assert max(map(len, text.splitlines())) <= 140
    assert not any(line != line.rstrip() for line in text.splitlines())


def test_the_text_says_where_memory_runs_out() -> None:
    text = render_text(plan_of("model.micro_batch_size=9"))
    assert "By this estimate stage2, stage3, stage4 will not fit the 79 GiB of H100 SXM" in text
    assert "\n    stage3  curriculum.stages.stage3.micro_batch_size=3: " in text


A100 = "A100 40GB"


def test_remedies_come_cheapest_first_and_do_what_they_say() -> None:
    """Each of them, given to the plan, makes it what it promises; the text stops at the first that fits."""
    in_bf16 = ["model.fp8=null", "model.micro_batch_size=1"]
    plan = build_plan(load_config("danube_1_8b", in_bf16), gpu=A100)
    assert [bool(stage.remedies) for stage in plan.stages] == [False, True, True, True]
    last = plan.stages[3]
    assert [remedy.overrides[0].rpartition(".")[2] for remedy in last.remedies] == [
        "name=distributed_fused_adam",
        "cross_entropy_chunk_size=2048",
        "activations_checkpoint_granularity=selective",
        "activations_checkpoint_granularity=full",
        "tensor_model_parallel_size=2",
    ]
    for remedy in last.remedies:
        mended = build_plan(load_config("danube_1_8b", [*in_bf16, *remedy.overrides]), gpu=A100).stages[3]
        assert mended.memory.total == remedy.total < last.memory.total
        assert bool(mended.remedies) == (mended.memory.total > 37 * 2**30)
    text = render_text(plan)
    assert "stage4  curriculum.stages.stage4.activations_checkpoint_granularity=full: 35.7 GiB, fits; one more" in text
    assert "stage4  model.tensor_model_parallel_size" not in text


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.optim.grad_sync_dtype=bf16"],
        ["model.optim.name=distributed_fused_adam", "model.optim.grad_sync_dtype=bf16"],
        ["model.fsdp=true", "model.optim.grad_sync_dtype=bf16"],
        ["model.fp8=null", "trainer.precision=32-true", "model.transformer_engine=true"],
        ["model.pipeline_model_parallel_size=2", "model.tensor_model_parallel_size=2"],
        ["model.context_parallel_size=2", "trainer.accelerator=cpu", "model.fp8=null"],
        ["objective=my_own"],
    ],
)
def test_each_remedy_is_accepted_and_lowers_memory(overrides: list[str]) -> None:
    config = load_config("danube_1_8b", overrides)
    now, found = fullest_device(config, Curriculum.from_config(config).stages[3]).total, remedies(config, "stage4", 1)
    assert found
    for remedy in found:
        mended = load_config("danube_1_8b", [*overrides, *remedy.overrides])
        total = fullest_device(mended, Curriculum.from_config(mended).stages[3]).total
        assert total == remedy.total < now, remedy
        if "objective=my_own" in overrides:
            assert "cross_entropy_chunk_size" not in remedy.overrides[0]


def test_remedies_of_a_run_without_a_curriculum() -> None:
    """Fine-tuning has one stage, whose keys are the model's."""
    words = ["model.restore_from_path=runs/danube_1_8b"]
    config = load_config("danube_sft", words, kind=SftConfig)
    [stage] = Curriculum.from_config(config).stages
    now, found = fullest_device(config, stage).total, remedies(config, stage.name, 1)
    assert {"model.activations_checkpoint_granularity=full", "model.optim.name=distributed_fused_adam"} <= {
        remedy.overrides[0] for remedy in found
    }
    for remedy in found:
        mended = load_config("danube_sft", [*words, *remedy.overrides], kind=SftConfig)
        [stage] = Curriculum.from_config(mended).stages
        assert fullest_device(mended, stage).total == remedy.total < now


def test_changes_that_are_enough_together_only() -> None:
    """They are named where none is by itself; where all are not, more devices are."""
    alone = ["trainer.devices=1", "model.num_layers=23"]
    plan = build_plan(load_config("danube_1_8b", alone), gpu=A100)
    last = plan.stages[3]
    assert last.remedies and all(remedy.total > 37 * 2**30 for remedy in last.remedies)
    assert last.together is not None and len(last.together.overrides) > 1
    mended = build_plan(load_config("danube_1_8b", [*alone, *last.together.overrides]), gpu=A100).stages[3]
    assert mended.memory.total == last.together.total <= 37 * 2**30
    assert f"stage4  together {' '.join(last.together.overrides)}: " in render_text(plan)
    small = build_plan(load_config("danube_1_8b", [*alone, "model.num_layers=48"]), gpu=A100)
    assert [stage.together for stage in small.stages] == [None] * 4
    assert "stage4  all of them together do not fit: divide the model over more devices" in render_text(small)


def test_recomputing_changes_memory_and_no_other_figure() -> None:
    plain = build_plan(load_config("danube_1_8b"))
    full = build_plan(load_config("danube_1_8b", ["curriculum.stages.stage4.activations_checkpoint_granularity=full"]))
    assert full.stages[:3] == plain.stages[:3]
    assert (full.flops, full.device_hours) == (plain.flops, plain.device_hours)
    assert full.stages[3].memory.activations < plain.stages[3].memory.activations / 10
    assert "full, uniform 1" in render_text(full)


RAMP = "model.rampup_batch_tokens=[147456,147456,50e9]"


def test_a_batch_that_grows_adds_up_phase_by_phase() -> None:
    config = load_config("danube_1_8b", [RAMP])
    plan = build_plan(config)
    first, *others = plan.stages
    assert [phase.global_batch_size for phase in first.phases] == list(range(72, 577, 72))
    assert all(len(stage.phases) == 1 for stage in others)
    clock = 0
    for stage in plan.stages:
        for phase in stage.phases:
            assert phase.start_tokens == clock
            clock += phase.steps * phase.global_batch_tokens
            assert phase.end_tokens == clock
            assert phase.micro_batch_size * phase.num_microbatches * plan.data_parallel_size == phase.global_batch_size
            assert phase.micro_batch_size <= stage.micro_batch_size
        assert (stage.end_tokens, stage.steps) == (clock, sum(phase.steps for phase in stage.phases))
        assert stage.whole_steps <= stage.exact_steps <= stage.steps <= stage.whole_steps + 1
    assert plan.total_steps == sum(stage.steps for stage in plan.stages)
    optim = config.model.optim
    assert first.first_learning_rate == learning_rate(optim, 147_456, plan.total_tokens)
    text = render_text(plan)
    assert max(map(len, text.splitlines())) <= 140
    assert "8 phases of model.rampup_batch_tokens=[147456,147456,50000000000]" in text
    assert "2,359,296,000 tokens = 16,000 steps" in text
    for phase in first.phases:
        assert any(line.split() == list(phase.cells("stage1")) for line in text.splitlines())
    assert json.loads(as_json(plan))["stages"][0]["phases"][1]["global_batch_tokens"] == 294_912


def test_the_memory_of_a_batch_that_grows_is_that_of_its_fullest_phase() -> None:
    """The fullest of micro-batches of 3 to 8 is the 8; a stage that ends before has none of more than 6."""
    assert plan_of(RAMP).stages[0].memory == plan_of().stages[0].memory
    small = plan_of("curriculum.stages.stage1.micro_batch_size=6").stages[0].memory
    long = ["model.rampup_batch_tokens=[147456,147456,400e9]", "model.encoder_seq_length=2048"]
    short = plan_of(*long, "curriculum.stages.stage1.tokens=260e9").stages[0]
    assert [phase.micro_batch_size for phase in short.phases] == [3, 6, 3, 6, 5]
    assert short.memory == small


def test_the_text_names_the_stage_to_stop_after() -> None:
    assert "stops at the end of stage2" in render_text(plan_of("curriculum.stage=stage2"))
    assert "stops at" not in render_text(plan_of("curriculum.stage=stage4"))


def test_json_holds_every_figure(recipe: Plan) -> None:
    plan = json.loads(as_json(recipe))
    assert plan["parameters"] == 1_831_201_280
    assert plan["flops"] == recipe.flops
    assert [stage["steps"] for stage in plan["stages"]] == [593_398, 84_772, 84_772, 84_772]
    assert plan["stages"][3]["memory"]["total"] == recipe.stages[3].memory.total
    assert plan["data"]["stages"] == {}


def test_a_plan_imports_nothing_heavy(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from custom_modules.config.load import load_config\n"
        "from custom_modules.plan.plan import build_plan\n"
        "from custom_modules.plan.render import as_json, render_text\n"
        f"plan = build_plan(load_config('danube_1_8b', ['data.dir={tmp_path}']))\n"
        "render_text(plan), as_json(plan)\n"
        f"print([name for name in {HEAVY} if name in sys.modules])\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_checkpoints_to_go_back_to_take_room(tmp_path: Path) -> None:
    """One each 100B of the trillion tokens; never more than there are saves."""
    key = "exp_manager.checkpoint_callback_params.keep_every_n_tokens"
    folders = [f"data.dir={tmp_path}", f"exp_manager.exp_dir={tmp_path}"]
    configs = [load_config("danube_1_8b", [*folders, f"{key}={every}"]) for every in ("null", 10**11, 1)]
    default, some, all_of_them = plans = [build_plan(config) for config in configs]
    saves = default.total_tokens // configs[0].exp_manager.checkpoint_callback_params.every_n_train_tokens
    assert [plan.checkpoints_kept for plan in plans] == [6, 16, 6 + saves]
    assert "16 checkpoints kept" in render_text(some)
    assert checkpoints_to_come(configs[1], None) == (17, 17 * some.checkpoint_bytes)
    assert all_of_them.checkpoint_bytes == some.checkpoint_bytes
