"""One training loop for every task: settings, updates, checkpoints, run and model folders."""
