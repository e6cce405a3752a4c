"""Tasks: what a user asks for. A file per task: a frozen dataclass whose fields are flags."""
