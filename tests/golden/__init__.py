"""Numbers recorded from published code, and the rule that made its weights and inputs."""
