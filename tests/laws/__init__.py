"""The laws, checked on every stage, task and model family."""
