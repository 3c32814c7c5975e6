"""Trains as rank 0 of a world, and prints what it found as a JSON object.

The argument is one too: ``config`` (its name), ``overrides``, ``stages`` (names; none: all), ``steps`` of each,
``state`` (whether a checkpoint's state is built, to save and to load) and ``linears`` (whether the trace says which
linear each matrix product is of).
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from custom_modules.config.load import load_config
from custom_modules.config.stages import Curriculum
from custom_modules.plan.memory import fullest_device
from custom_modules.platform.megatron import import_megatron


def main(request: dict[str, Any]) -> dict[str, Any]:
    import_megatron("gpu")
    from custom_modules.data.documents import random_documents
    from custom_modules.training.engine import Engine
    from tests.null_gpu.programs.fake_world import rank_0, same_batches
    from tests.null_gpu.programs.linears import name_products

    config = load_config(request["config"], request["overrides"])
    curriculum = Curriculum.from_config(config)
    stages = [stage for stage in curriculum.stages if stage.name in (request["stages"] or [stage.name])]
    with rank_0(config) as platform:
        before = platform.memory_bytes()
        engine = Engine(config, curriculum, platform, initial_weights=False)
        if request.get("linears"):
            name_products(engine)
        peaks, planned, attention = {}, {}, {}
        for stage in stages:
            engine.set_clock(stage.start_tokens)
            platform.forget_peak_memory()
            for _ in range(request["steps"]):
                engine.train_step(same_batches(stage, random_documents(config)), stage)
            peaks[stage.name] = platform.peak_memory_bytes() - before
            attention[stage.name] = _attention()
            planned[stage.name] = fullest_device(config, stage, on_cpu=False).total
        return {
            "pid": os.getpid(),
            "peaks": peaks,
            "planned": planned,
            "attention": attention,
            "kernels": [platform.kernels.transformer_engine, *_kinds(engine)],
            "moments": _moments(engine),
            "state": _state_entries(engine) if request.get("state") else None,
        }


def _kinds(engine: Any) -> list[str]:
    from custom_modules.training.optimizer import parts

    return sorted({type(part.optimizer).__module__.partition(".")[0] for part in parts(engine.optimizer)})


def _attention() -> dict[str, Any]:
    """Return what Transformer Engine chose for the last attention, and for what."""
    from transformer_engine.pytorch.attention.dot_product_attention.dot_product_attention import _attention_backends

    asked = _attention_backends["attention_params"]
    names = ("qkv_layout", "attn_mask_type", "window_size", "max_seqlen_q", "batch_size", "head_dim_qk")
    chosen = ("use_flash_attention", "use_fused_attention", "use_unfused_attention")
    return {
        **{name: getattr(asked, name) for name in names},
        **{name: bool(_attention_backends[name]) for name in chosen},
        "sub_backend": str(_attention_backends["fused_attention_backend"]),
    }


def _moments(engine: Any) -> list[int]:
    """Return how many parameters of this rank have moments of their own shape, and how many others."""
    from custom_modules.training.optimizer import parts

    fitting = [
        _local(state["exp_avg"]).shape == _local(parameter).shape
        for part in parts(engine.optimizer)
        for parameter, state in part.optimizer.state.items()
        if "exp_avg" in state
    ]
    return [sum(fitting), len(fitting) - sum(fitting)]


def _local(tensor: Any) -> Any:
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def _state_entries(engine: Any) -> list[int]:
    from custom_modules.training.checkpoint import _state

    return [len(_state(engine, is_loading)["optimizer"]) for is_loading in (False, True)]


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))), flush=True)
    # Without what CUDA's libraries do at the end of a process: they would ask a GPU that is none.
    os._exit(0)
