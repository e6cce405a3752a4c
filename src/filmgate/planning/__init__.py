"""What a job costs, and the plan that keeps a budget."""
