"""The addresses of the API, and what each of them does."""
