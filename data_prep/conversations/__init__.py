"""Conversations and pairs of answers: from the files of published sets to what `danube sft` and `danube dpo` read."""
