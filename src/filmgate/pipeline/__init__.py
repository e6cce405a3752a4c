"""From a job to the chain that runs it."""
