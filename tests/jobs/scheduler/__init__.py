"""Tests of the scheduler, alone and together with the queue and workers that fail."""
