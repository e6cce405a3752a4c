"""What went wrong somewhere once, and what real films do."""
