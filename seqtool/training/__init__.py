"""Training for every task: the job, the loop, updates, checkpoints, settings and run folders."""
