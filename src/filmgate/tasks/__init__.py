"""What a user asks for. Each file holds one task: a frozen dataclass whose fields are its flags."""
