"""`danube bench`: training steps of a config, stage by stage and variant by variant, timed; nothing of them is kept."""
