"""How the results of an evaluation are printed, one file a task."""
