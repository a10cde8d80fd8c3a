"""The command line: parses, calls public functions, prints; Typer and Rich live here and nowhere else."""
