"""Where a job runs. Each backend is `run(job, plan, resume)`, which says events."""
