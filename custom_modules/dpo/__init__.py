"""Direct preference optimisation with LoRA (Danube's report, section 6.2): trl and peft do the work."""
