"""Figure 2: the shares of the sources in each stage, as planned and as prepared."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import colors, image

from custom_modules.config.load import load_config
from custom_modules.config.schema import Config
from custom_modules.config.stages import Curriculum
from custom_modules.plan.prepared import read_prepared
from custom_modules.report import draw
from custom_modules.report.shares import StageShares, draw_shares, source_colors, stage_shares
from custom_modules.run_folder.metadata import write_metadata

TOKENS = {"stage1": {"web": 6_000, "books": 2_000}, "stage2": {"web": 1_000, "books": 3_000}}
OVERRIDES = [
    "data.input=null",
    "++curriculum.stages.stage1.mix={web: 0.9, books: 0.1}",
    "++curriculum.stages.stage1.reported_mix={web: 0.9}",
    "~curriculum.stages.stage3",
    "~curriculum.stages.stage4",
]


@pytest.fixture
def mixed(tmp_path: Path, write_manifest: Callable[..., None]) -> Config:
    """A config whose first stage has a mix; prepared are TOKENS."""
    write_manifest(tmp_path / "data", TOKENS)
    return load_config("danube_rehearsal", [*OVERRIDES, f"data.dir={tmp_path / 'data'}"])


@pytest.fixture
def write_manifest() -> Callable[..., None]:
    def write(folder: Path, tokens: dict[str, dict[str, int]]) -> None:
        def part(stage: str, source: str, count: int) -> dict[str, Any]:
            files = {"bytes": {"bin": 2 * count, "idx": 54}, "sha256": {"bin": "0" * 64, "idx": "0" * 64}}
            named = {"prefix": f"{stage}/{source}_train", "source": source, "dtype": "uint16"}
            return {**named, "documents": 1, "tokens": count, **files}

        tokenizer = {"library": "sentencepiece", "file": "t", "sha256": "0" * 64, "vocab_size": 2048, "eos_id": 2}
        stages = {
            stage: {"train": [part(stage, source, count) for source, count in sources.items()], "validation": []}
            for stage, sources in tokens.items()
        }
        folder.mkdir()
        manifest = {"format": 1, "options": {}, "tokenizer": tokenizer, "stages": stages}
        (folder / "manifest.json").write_text(json.dumps(manifest))

    return write


def shares_of(config: Config) -> tuple[StageShares, ...]:
    return stage_shares(config, read_prepared(config, Curriculum.from_config(config)))


def test_the_plan_is_the_mix_and_what_is_prepared_is_counted_in_tokens(mixed: Config) -> None:
    first, second = shares_of(mixed)
    assert first.planned == {"web": 0.9, "books": 0.1} and first.reported == {"web": 0.9}
    assert first.prepared == {"web": 0.75, "books": 0.25}
    assert second.planned == second.prepared == {"web": 0.25, "books": 0.75}, "without a mix, in proportion"


def test_before_anything_is_prepared_the_plan_is_shown_alone(tmp_path: Path) -> None:
    stages = shares_of(load_config("danube2", [f"data.dir={tmp_path}"]))
    assert [stage.planned["web"] for stage in stages] == [0.845, 0.728, 0.555]
    assert [stage.prepared for stage in stages] == [{}, {}, {}]


def test_one_source_is_nothing_to_draw(tmp_path: Path) -> None:
    assert shares_of(load_config("danube_1_8b", [f"data.dir={tmp_path}"])) == ()


def lengths_in(png: bytes, color: str) -> list[int]:
    """The lengths of the stretches of a colour, one for each bar that has it, from above."""
    picture = image.imread(io.BytesIO(png), format="png")[..., :3]
    rows = (np.abs(picture - colors.to_rgb(color)).max(axis=2) < 0.01).sum(axis=1)
    rows[rows < 60] = 0  # the legend
    edges = np.flatnonzero(np.diff((rows > 0).astype(int)))
    return [int(rows[begin + 1 : end + 1].max()) for begin, end in zip(edges[::2], edges[1::2], strict=True)]


def test_bars_are_as_long_as_the_shares(mixed: Config) -> None:
    stages = shares_of(mixed)
    png = draw_shares(stages, "mixed")
    bars = [shares for stage in stages for shares in (stage.planned, stage.prepared)]
    palette = source_colors(bars)
    lengths = {source: lengths_in(png, color) for source, color in palette.items()}
    assert [len(found) for found in lengths.values()] == [4, 4]
    for number, shares in enumerate(bars):
        whole = sum(found[number] for found in lengths.values())
        for source, share in shares.items():
            assert lengths[source][number] / whole == pytest.approx(share, abs=0.01)


def test_the_report_of_a_run_has_them_where_its_stages_mix(mixed: Config, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for config in (mixed, load_config("danube_rehearsal")):
        checkpoint = run / "checkpoints" / "tokens_000000000000008192"
        checkpoint.mkdir(parents=True, exist_ok=True)
        write_metadata(checkpoint, config, "", {})
        record = {"kind": "train", "step": 1, "tokens": 8192, "stage": "stage1", "seq_length": 128, "loss": 5.0}
        more = {"learning_rate": 1e-3, "grad_norm": 1.0, "tokens_per_second": 1.0, "mfu": None, "elapsed_seconds": 1.0}
        (run / "metrics.jsonl").write_text(json.dumps({**record, **more}) + "\n")
        mixes = config is mixed
        drawn = draw(run, tmp_path / str(mixes))
        assert [path.name for path in drawn] == ["figure1.png", "index.html"] + ["figure2.png"] * mixes
        assert drawn[1].read_text().count("<img ") == 1 + mixes
