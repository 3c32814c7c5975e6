"""The manifests: what they ask for against the config that they name, and against Kubernetes' and Kubeflow's models."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from custom_modules.arguments import parser
from custom_modules.config.load import load_config
from custom_modules.config.schema import Config
from custom_modules.errors import EXIT_DIVERGED, EXIT_SAVED, EXIT_USER_ERROR

FOLDER = Path(__file__).resolve().parents[2] / "kubernetes"
GPU = "nvidia.com/gpu"


def manifest(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((FOLDER / f"{name}.yaml").read_text()))


def pods(found: dict[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    """How many there are of each kind, and what they are."""
    if found["kind"] == "Job":
        return [(found["spec"]["parallelism"], found["spec"]["template"]["spec"])]
    return [(one["replicas"], one["template"]["spec"]) for one in found["spec"]["pytorchReplicaSpecs"].values()]


def configs(pod: dict[str, Any]) -> Iterator[tuple[dict[str, Any], Config]]:
    """Every container with the config that its command names."""
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        words = [*container["command"], *container.get("args", ())]
        words = words[words.index("danube") + 1 :]
        options = parser().parse_args(words)
        yield container, load_config(options.config_name, options.overrides, None)


@pytest.mark.parametrize("name", ["job", "pytorchjob"])
def test_devices_are_those_of_the_config(name: str) -> None:
    found = manifest(name)
    count = sum(replicas for replicas, _ in pods(found))
    for _, pod in pods(found):
        assert pod["terminationGracePeriodSeconds"] >= 300
        shm = next(volume for volume in pod["volumes"] if volume["name"] == "shm")
        assert shm["emptyDir"]["medium"] == "Memory"
        for container, config in configs(pod):
            assert container["resources"]["limits"][GPU] == config.trainer.devices
            assert config.trainer.num_nodes == count
            mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
            assert {"/dev/shm", config.exp_manager.exp_dir, f"/{Path(config.data.dir).parts[1]}"} == mounted
    if name == "pytorchjob":
        assert int(found["spec"]["nprocPerNode"]) == next(configs(pods(found)[0][1]))[1].trainer.devices


def test_a_job_reacts_to_exit_codes_as_the_slurm_scripts_do() -> None:
    spec = manifest("job")["spec"]
    assert spec["podReplacementPolicy"] == "Failed" and spec["template"]["spec"]["restartPolicy"] == "Never"
    actions = {
        code: rule["action"]
        for rule in spec["podFailurePolicy"]["rules"]
        for code in rule.get("onExitCodes", {}).get("values", ())
    }
    assert actions == {EXIT_USER_ERROR: "FailJob", EXIT_DIVERGED: "FailJob", EXIT_SAVED: "Ignore"}


@pytest.mark.parametrize(("code", "told"), [(0, 0), (2, 2), (3, 3), (1, 138), (74, 138), (75, 138)])
def test_pytorchjob_starts_again_what_may_go_on(code: int, told: int) -> None:
    """The policy ``ExitCode`` takes 128 and above for what passes."""
    command = ["bash", str(FOLDER / "retryable.sh"), "bash", "-c", f"exit {code}"]
    assert subprocess.run(command, capture_output=True).returncode == told


def test_a_pod_that_is_deleted_may_save() -> None:
    program = "trap 'sleep 0.2; echo saved; exit 75' TERM; echo started; sleep 60 & wait"
    command = ["bash", str(FOLDER / "retryable.sh"), "bash", "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "started\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "saved\n"
    assert process.returncode == 138


@pytest.mark.parametrize(("name", "kind"), [("job", "V1Job"), ("pytorchjob", "KubeflowOrgV1PyTorchJob")])
def test_every_field_is_one_of_the_models(name: str, kind: str) -> None:
    """The packages `kubernetes` and `kubeflow-training` know each field and its type."""
    packages = [pytest.importorskip("kubernetes.client.models")]
    if name == "pytorchjob":
        packages.append(pytest.importorskip("kubeflow.training.models"))
    check(manifest(name), kind, packages, name)


def check(value: Any, kind: str, packages: list[Any], place: str) -> None:
    """Raises AssertionError or ValueError for what is not of a type of theirs."""
    if listed := re.fullmatch(r"list\[(.*)\]", kind):
        assert isinstance(value, list), place
        for number, one in enumerate(value):
            check(one, listed[1], packages, f"{place}[{number}]")
    elif mapped := re.fullmatch(r"dict\((\w+), (.*)\)", kind):
        for name, one in value.items():
            check(one, mapped[2], packages, f"{place}.{name}")
    elif kind in ("str", "int", "bool", "float"):
        # A quantity is a number or a text: resources are written as either.
        assert type(value).__name__ == kind or ".resources." in place, f"{place}: {value!r} is no {kind}"
    elif kind != "object":
        model = next(getattr(package, kind) for package in reversed(packages) if hasattr(package, kind))
        names = {written: name for name, written in model.attribute_map.items()}
        assert set(value) <= set(names), f"{place}: {kind} has no {set(value) - set(names)}"
        model(**{names[written]: one for written, one in value.items()})
        for written, one in value.items():
            check(one, model.openapi_types[names[written]], packages, f"{place}.{written}")


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_the_script_passes_shellcheck() -> None:
    assert subprocess.run(["shellcheck", str(FOLDER / "retryable.sh")]).returncode == 0
