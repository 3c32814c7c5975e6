"""In a container, whose image has what the project needs and not the project: it runs from the repository."""

from __future__ import annotations

import json

import pytest

from tests.support.not_installed import make_python
from tests.support.runs import checkpoints, read_metrics
from tests.support.slurm_jobs import SCRIPTS, TASKS, Submitter


def test_a_stage_and_both_conversions(submitter: Submitter, monkeypatch: pytest.MonkeyPatch) -> None:
    """pyxis's options reach srun; python3 is the image's."""
    cluster, here = submitter.cluster, submitter.folder
    if not cluster.plugins.exists():
        pytest.skip("no C compiler, or no header of Slurm's plugins (Debian: libslurm-dev)")
    packages = make_python(here / "image")
    python = here / "bin" / "python3"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nenv | grep ^FAKE_PYXIS >{here}/container\nexec {packages}/python3 "$@"\n')
    python.chmod(0o755)
    monkeypatch.setitem(cluster.environment, "PATH", f"{python.parent}:{cluster.environment['PATH']}")
    submitter.site(CONTAINER_IMAGE="/images/danube.sqsh", CONTAINER_MOUNTS="/scratch:/scratch")
    script = here / "all.sh"
    convert = f"bash {SCRIPTS}/convert.sh"
    script.write_text(
        "#!/bin/bash\nset -e\n"
        f'bash {SCRIPTS}/stage1.sh "$@" curriculum.stages.stage1.tokens=1024\n'
        f"{convert} to-hf {submitter.run_dir} {here}/export\n"
        f'{convert} from-hf {here}/export {here}/again "$@"\n'
    )
    job = cluster.submit(*TASKS, "--output=%j.log", script, *submitter.arguments, cwd=here)
    assert cluster.wait(job) == "COMPLETED", submitter.log(job)
    assert "a small checkpoint saved, read back and removed" in submitter.log(job)
    assert len(read_metrics(submitter.run_dir)) == 2
    for run_dir in (submitter.run_dir, here / "again"):
        metadata = json.loads((checkpoints(run_dir)[-1] / "metadata.json").read_text())
        assert metadata["versions"]["danube-pretrain"]
    assert (here / "export" / "config.json").is_file()
    seen = (here / "container").read_text()
    repository = SCRIPTS.parent
    assert "FAKE_PYXIS_CONTAINER_IMAGE=/images/danube.sqsh\n" in seen
    assert f"FAKE_PYXIS_CONTAINER_MOUNTS={repository}:{repository},{here}:{here},/scratch:/scratch\n" in seen
    assert f"FAKE_PYXIS_CONTAINER_WORKDIR={here}\n" in seen
