"""From a job to the stages that run it."""
