"""`danube teach`: what teachers say of the distilled part of prepared data."""
