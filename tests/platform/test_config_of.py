"""A command loads its config once, and the processes that it forks have the same."""

from __future__ import annotations

import argparse
from pathlib import Path

from custom_modules.commands.options import config_of, inherited


def asked(folder: Path, *overrides: str) -> argparse.Namespace:
    """What `danube pretrain` has of a command line."""
    arguments = ["pretrain", "--config-name", "own", *overrides]
    return argparse.Namespace(config_name="own", config_dir=folder, overrides=list(overrides), arguments=arguments)


def test_a_file_that_is_changed_after_the_start_changes_nothing(tmp_path: Path) -> None:
    recipe = tmp_path / "own.yaml"
    recipe.write_text("defaults: [danube_rehearsal, _self_]\nname: first\n")
    options = asked(tmp_path)
    config = config_of(options)
    recipe.write_text("defaults: [danube_rehearsal, _self_]\nname: second\n")
    assert (config.name, config_of(options).name, config_of(asked(tmp_path)).name) == ("first", "first", "second")
    with inherited(options, config_of(options)):
        assert config_of(asked(tmp_path)) is config, "a forked process parses the same command line again"
        assert config_of(asked(tmp_path, "model.seed=3")).name == "second"
    assert config_of(asked(tmp_path)).name == "second"
