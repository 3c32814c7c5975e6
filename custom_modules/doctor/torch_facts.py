"""What torch finds of CUDA, as one JSON object on stdout: run in a process of its own, which a driver may hang."""

from __future__ import annotations

import json
import warnings
from typing import Any


def main() -> None:
    """Keys: ``version``, ``cuda`` (that it was built for; null: for CPUs), ``cudnn``, ``nccl``, ``devices`` that ran a
    kernel (name and compute capability), ``problem``."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        import torch

        facts: dict[str, Any] = {"version": torch.__version__, "cuda": torch.version.cuda, "devices": []}
        facts["cudnn"] = facts["nccl"] = facts["problem"] = None
        try:
            if facts["cuda"]:
                facts["cudnn"] = torch.backends.cudnn.version()
                if torch.distributed.is_nccl_available():
                    facts["nccl"] = ".".join(map(str, torch.cuda.nccl.version()))
                for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
                    torch.ones(1, device=f"cuda:{index}").add_(1).item()
                    capability = "{}.{}".format(*torch.cuda.get_device_capability(index))
                    facts["devices"].append([torch.cuda.get_device_name(index), capability])
        except (RuntimeError, OSError) as error:
            facts["problem"] = str(error).strip().splitlines()[0]
    of_cuda = [str(warning.message) for warning in warned if "CUDA" in str(warning.message)]
    if facts["problem"] is None and not facts["devices"] and of_cuda:
        facts["problem"] = " ".join(of_cuda[0].split())
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
