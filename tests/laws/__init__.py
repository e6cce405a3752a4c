"""The laws, over every stage there is."""
