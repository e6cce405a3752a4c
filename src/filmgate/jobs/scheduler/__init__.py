"""Which job runs where and when: decided from values alone, so that a simulation can try it."""
