"""What the plan says of prepared data."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from custom_modules.config.load import load_config
from custom_modules.plan.plan import Plan, build_plan
from custom_modules.plan.render import render_text

TRAINED = {"stage1": 2_736_128, "stage2": 393_216, "stage3": 393_216, "stage4": 393_216}


def write_manifest(folder: Path, tokens: dict[str, int], parts: int = 1, sources: Sequence[str] = ("text",)) -> None:
    """Give every stage ``parts`` datasets of each source, all of one size."""

    def part(name: str, source: str, count: int) -> dict[str, Any]:
        return {
            "prefix": f"{name}/{source}_train",
            "source": source,
            "documents": 1,
            "tokens": count,
            "dtype": "uint16",
            "bytes": {"bin": 2 * count, "idx": 54},
            "sha256": {"bin": "0" * 64, "idx": "0" * 64},
        }

    manifest = {
        "format": 1,
        "options": {},
        "tokenizer": {
            "library": "sentencepiece",
            "file": "tokenizer/tokenizer.model",
            "sha256": "0" * 64,
            "vocab_size": load_config("danube_rehearsal").model.vocab_size,
            "eos_id": 2,
        },
        "sources": [],
        "stages": {
            name: {
                "train": [part(name, source, count // parts // len(sources)) for source in sources] * parts,
                "validation": [],
            }
            for name, count in tokens.items()
        },
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))


def plan_of(folder: Path, *overrides: str) -> Plan:
    return build_plan(load_config("danube_rehearsal", [f"data.dir={folder}", *overrides]))


def test_nothing_is_prepared_yet(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    assert plan.data.stages == {}
    assert "not prepared yet" in render_text(plan)
    assert str(tmp_path) in render_text(plan)


def test_a_plan_with_data_needs_no_numpy_either(tmp_path: Path) -> None:
    write_manifest(tmp_path, TRAINED)
    program = (
        "import sys\n"
        "from custom_modules.config.load import load_config\n"
        "from custom_modules.plan.plan import build_plan\n"
        f"plan = build_plan(load_config('danube_rehearsal', ['data.dir={tmp_path}']))\n"
        "print(len(plan.data.stages), [name for name in ('numpy', 'torch') if name in sys.modules])\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "4 []"


def test_enough_for_every_stage(tmp_path: Path) -> None:
    write_manifest(tmp_path, {name: tokens + 2048 for name, tokens in TRAINED.items()})
    plan = plan_of(tmp_path)
    assert plan.data.problem is None
    for name, data in plan.data.stages.items():
        assert data.tokens == TRAINED[name] + 2048
        assert data.epochs == TRAINED[name] / data.tokens
        assert (data.max_epochs_needed, data.refused) == (1, None)
    assert "refused" not in render_text(plan)


@pytest.mark.slow
def test_too_little_is_refused_unless_it_may_be_repeated(tmp_path: Path) -> None:
    write_manifest(tmp_path, {**TRAINED, "stage1": 3_000_000, "stage2": 200_000, "stage3": 500_000, "stage4": 500_000})
    data = plan_of(tmp_path).data.stages
    assert data["stage1"].refused is None
    assert data["stage2"].epochs == pytest.approx(393_216 / 200_000)
    assert data["stage2"].refused == "refused: set data.max_epochs=2 or add text"
    assert "refused: set data.max_epochs=2 or add text" in render_text(plan_of(tmp_path))
    assert plan_of(tmp_path, "data.max_epochs=2").data.stages["stage2"].refused is None


def test_several_sources_are_read_by_their_shares(tmp_path: Path) -> None:
    write_manifest(tmp_path, {**TRAINED, "stage1": 2_800_000, "stage2": 200_000}, parts=2)
    data = plan_of(tmp_path).data.stages
    assert (data["stage1"].tokens, data["stage1"].max_epochs_needed) == (2_800_000, 1)
    assert (data["stage2"].tokens, data["stage2"].max_epochs_needed) == (200_000, 2)


def test_each_source_may_be_repeated_as_often_as_it_says(tmp_path: Path) -> None:
    mixes = {
        "stage1": "{web: 0.5, books: 0.5}",
        "stage2": "{web: 0.8, books: 0.2}",
        "stage3": "{web: 0.2, books: 0.8}",
        "stage4": "{web: 0.5, books: 0.5}",
    }
    mixed = ["data.input=null", *(f"++curriculum.stages.{name}.mix={mix}" for name, mix in mixes.items())]
    write_manifest(tmp_path, {name: tokens + 4096 for name, tokens in TRAINED.items()}, sources=("web", "books"))

    def refusals(*overrides: str) -> dict[str, str | None]:
        return {name: data.refused for name, data in plan_of(tmp_path, *mixed, *overrides).data.stages.items()}

    once = refusals()
    assert once["stage2"] == once["stage3"] == "refused: set data.max_epochs=2 or add text"
    assert once["stage1"] is once["stage4"] is None
    assert refusals("data.max_epochs.web=2") == {
        **dict.fromkeys(TRAINED),
        "stage3": "refused: set data.max_epochs.books=2 or add text",
    }
    assert refusals("data.max_epochs={web: 2, books: 2}") == refusals("data.max_epochs=2") == dict.fromkeys(TRAINED)
    assert "with data.max_epochs={web: 2}" in render_text(plan_of(tmp_path, *mixed, "data.max_epochs.web=2"))


def test_exactly_the_trained_tokens_lack_the_last_target(tmp_path: Path) -> None:
    write_manifest(tmp_path, TRAINED)
    assert {data.max_epochs_needed for data in plan_of(tmp_path).data.stages.values()} == {2}
    write_manifest(tmp_path, {name: tokens + 1 for name, tokens in TRAINED.items()})
    assert {data.max_epochs_needed for data in plan_of(tmp_path).data.stages.values()} == {1}


def test_a_stage_without_text_is_refused(tmp_path: Path) -> None:
    write_manifest(tmp_path, dict.fromkeys(("stage1", "stage2", "stage3"), 10**7))
    data = plan_of(tmp_path).data.stages["stage4"]
    assert (data.tokens, data.epochs, data.max_epochs_needed) == (0, None, None)
    assert data.refused == "refused: no text; run `danube prepare`"


def test_a_stage_shorter_than_a_sequence_is_refused(tmp_path: Path) -> None:
    write_manifest(tmp_path, {name: 1024 if name == "stage4" else 10**7 for name in TRAINED})
    assert plan_of(tmp_path).data.stages["stage4"].refused == "refused: too short for 1024 tokens; add text"


@pytest.mark.parametrize("contents", ["", "{", "[]", '{"stages": {"stage1": 1}}'])
def test_a_damaged_manifest_does_not_keep_one_from_planning(tmp_path: Path, contents: str) -> None:
    (tmp_path / "manifest.json").write_text(contents)
    plan = plan_of(tmp_path)
    assert plan.total_steps == 478
    assert plan.data.problem
    assert str(tmp_path / "manifest.json") in render_text(plan)


def test_another_vocabulary_is_said(tmp_path: Path) -> None:
    write_manifest(tmp_path, TRAINED)
    assert "model.vocab_size=8192" in render_text(plan_of(tmp_path, "model.vocab_size=8192"))


@pytest.mark.parametrize("key", ["reset_attention_mask", "reset_position_ids", "eod_mask_loss"])
def test_data_without_an_end_of_text_is_said(tmp_path: Path, key: str) -> None:
    write_manifest(tmp_path, TRAINED)
    path = tmp_path / "manifest.json"
    path.write_text(path.read_text().replace('"eos_id": 2', '"eos_id": -1'))
    assert plan_of(tmp_path).data.problem is None
    assert f"data.{key}=true: the data in data.dir={tmp_path} has no end of text" in render_text(
        plan_of(tmp_path, f"data.{key}=true")
    )


MIXED = [
    "data.input=null",
    *(f"++curriculum.stages.{name}.mix={{web: 0.75, books: 0.25}}" for name in TRAINED),
    "data.max_epochs={web: 2}",
]


def write_sources(folder: Path, tokens: dict[str, dict[str, int]]) -> None:
    """One dataset of each source in every stage, of so many tokens."""
    write_manifest(folder, TRAINED, sources=("web", "books"))
    manifest = json.loads((folder / "manifest.json").read_text())
    for name, stage in manifest["stages"].items():
        for part in stage["train"]:
            part["tokens"] = tokens[part["source"]][name]
            part["bytes"]["bin"] = 2 * part["tokens"]
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_what_is_needed_of_each_source_is_just_enough(tmp_path: Path) -> None:
    needed = plan_of(tmp_path, *MIXED).needed_tokens
    assert {source: stages.keys() for source, stages in needed.items()} == dict.fromkeys(
        ("web", "books"), TRAINED.keys()
    )
    assert needed["web"]["stage1"] == pytest.approx(TRAINED["stage1"] * 0.75 / 2, rel=1e-3)
    assert needed["books"]["stage1"] == pytest.approx(TRAINED["stage1"] * 0.25, rel=1e-3)
    write_sources(tmp_path, needed)
    plan = plan_of(tmp_path, *MIXED)
    assert {(data.refused, data.beyond_epochs) for data in plan.data.stages.values()} == {(None, 0)}
    said = f"{sum(needed['web'].values()):,}"
    assert any(line.startswith("  web ") and line.endswith(said) for line in render_text(plan).splitlines())


def test_a_part_that_may_be_repeated_may_be_short_by_under_a_hundredth(tmp_path: Path) -> None:
    """Counted and said; a part that may be read once must have all."""
    needed = plan_of(tmp_path, *MIXED).needed_tokens

    def stage1(source: str, share: float) -> Any:
        short = {**needed[source], "stage1": int(needed[source]["stage1"] * share)}
        write_sources(tmp_path, {**needed, source: short})
        return plan_of(tmp_path, *MIXED)

    plan = stage1("web", 0.993)
    data = plan.data.stages["stage1"]
    assert data.refused is None
    assert data.beyond_epochs == pytest.approx(TRAINED["stage1"] * 0.75 * 0.007 / 128, abs=4)
    assert f"enough but for {data.beyond_epochs} sequences, which are read once more" in render_text(plan)
    refused = "refused: set data.max_epochs.{}={} or add text"
    assert stage1("web", 0.985).data.stages["stage1"].refused == refused.format("web", 3)
    assert stage1("books", 0.993).data.stages["stage1"].refused == refused.format("books", 2)


def test_stages_without_a_mix_ask_for_no_source(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    assert plan.needed_tokens == {}
    assert "must be there" not in render_text(plan)


TAUGHT = ["distillation={every_n_batches: 4, teachers: {one: {}}}", "model.rampup_batch_tokens=[2048,2048,500_000]"]


def write_streams(folder: Path, tokens: dict[str, dict[str, dict[str, int]]]) -> None:
    """Two datasets of each source in every stage, a plain and a distilled one, of so many tokens."""
    write_manifest(folder, TRAINED, sources=("web", "books"))
    manifest = json.loads((folder / "manifest.json").read_text())
    for name, stage in manifest["stages"].items():
        both = [{**part, "stream": stream} for part in stage["train"] for stream in tokens[part["source"]][name]]
        for part in both:
            part["prefix"] += f"_{part['stream']}"
            part["tokens"] = tokens[part["source"]][name][part["stream"]]
        stage["train"] = both
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("teachers", [[], ["distillation.teachers={}"]])
def test_each_part_of_a_source_must_have_what_its_stream_reads(tmp_path: Path, teachers: list[str]) -> None:
    """Both parts have just enough, whether each stream reads its own or both are read as one."""
    overrides = [*MIXED, *TAUGHT, *teachers]
    plan = plan_of(tmp_path, *overrides)
    needed = plan.needed_by_stream
    parts = needed["web"]["stage1"]
    assert parts["distilled"] == pytest.approx(TRAINED["stage1"] * 0.75 / 4 / 2, rel=2e-2)
    assert sum(parts.values()) <= plan.needed_tokens["web"]["stage1"] + 1
    assert plan.needed_tokens["web"]["stage1"] == max(-(-parts["plain"] * 4 // 3), parts["distilled"] * 4)
    write_streams(tmp_path, needed)  # type: ignore[arg-type]
    plan = plan_of(tmp_path, *overrides)
    assert {(data.refused, data.beyond_epochs) for data in plan.data.stages.values()} == {(None, 0)}
    assert sum(source.share for source in plan.data.stages["stage1"].sources.values()) == pytest.approx(1)
    assert f"{sum(part['distilled'] for part in needed['web'].values()):,}" in render_text(plan)


@pytest.mark.parametrize("with_texts", [False, True])
def test_distilled_documents_are_counted_as_they_are(with_texts: bool, tmp_path: Path) -> None:
    """A distilled sequence is one document where a teacher has texts: as many are needed, of 40 tokens each here."""
    teachers = "{one: {}, api: {targets: text}}" if with_texts else "{one: {}}"
    overrides = [*MIXED, f"distillation={{every_n_batches: 4, prefix_tokens: 8, teachers: {teachers}}}"]
    before = plan_of(tmp_path, *overrides)
    said = "as if it filled the sequence" in render_text(before), "as if each document filled" in render_text(before)
    assert said == (with_texts, with_texts)
    write_streams(tmp_path, before.needed_by_stream)  # type: ignore[arg-type]
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    parts = [part for stage in manifest["stages"].values() for part in stage["train"] if part["stream"] == "distilled"]
    for part in parts:
        part |= {"documents": 100, "tokens": 4000}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    plan = plan_of(tmp_path, *overrides)
    assert plan.data.problem is None
    assert {price.tokens for price in plan.teachers} == {4000 * len(parts)}
    assert f"beside {4000 * len(parts):,} prepared tokens" in render_text(plan)
    for source, stages in before.needed_by_stream.items():
        for stage, streams in stages.items():
            now = plan.needed_by_stream[source][stage]
            assert now["plain"] == streams["plain"]
            documents = (streams["distilled"] - 1) // next(s.seq_length for s in plan.stages if s.name == stage)
            assert now["distilled"] == (documents * 40 if with_texts else streams["distilled"])


@pytest.mark.parametrize("stream", ["plain", "distilled"])
def test_a_stream_that_is_short_is_refused_or_counted_by_itself(tmp_path: Path, stream: str) -> None:
    """That both parts together have enough helps neither."""
    needed: Any = plan_of(tmp_path, *MIXED, *TAUGHT).needed_by_stream

    def with_share(share: float) -> Any:
        own = {**needed["web"]["stage1"], stream: int(needed["web"]["stage1"][stream] * share)}
        own |= {other: 2 * tokens for other, tokens in own.items() if other != stream}
        write_streams(tmp_path, {**needed, "web": {**needed["web"], "stage1": own}})
        return plan_of(tmp_path, *MIXED, *TAUGHT).data.stages["stage1"]

    assert with_share(0.993).refused is None
    assert with_share(0.993).beyond_epochs > 0
    assert with_share(0.98).refused == "refused: set data.max_epochs.web=3 or add text"


def test_a_stream_without_a_part_is_refused(tmp_path: Path) -> None:
    write_sources(tmp_path, dict.fromkeys(("web", "books"), TRAINED))
    refused = plan_of(tmp_path, *MIXED, *TAUGHT).data.stages["stage1"].refused
    assert refused is not None
    assert refused.startswith("refused: distillation.every_n_batches=4: there is no distilled part")
