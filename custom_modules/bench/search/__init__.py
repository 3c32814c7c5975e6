"""`danube bench --search`: the fastest settings of a run on the machine that it stands on."""
