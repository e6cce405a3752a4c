"""How the suite runs: hypothesis profiles, the count of law examples, the marks."""

import os

from hypothesis import settings

settings.register_profile("quick", max_examples=40, deadline=None)
settings.register_profile("laws", max_examples=1400, deadline=None)
settings.load_profile(os.environ.get("FILMGATE_PROFILE", "quick"))
