"""Of mixtures of experts: megatron-core imports these names."""

fused_compute_score_for_moe_aux_loss = fused_moe_aux_loss = fused_topk_with_score_function = None
