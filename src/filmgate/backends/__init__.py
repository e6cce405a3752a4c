"""Where a job runs. Each backend is a function `run(job, plan, resume)` that yields events."""
