"""What Inspect finds under `intarsia/`: importing this module registers every task, solver, scorer and provider."""
