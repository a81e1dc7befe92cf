"""From noise to latents: processes, solvers and guidance."""
