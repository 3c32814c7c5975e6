"""A run on a cluster: what to ask Slurm for, whether its nodes are fit, how often it was restarted, how far it is."""
