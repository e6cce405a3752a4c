"""The device that models run on, and the memory of tensors on it."""
