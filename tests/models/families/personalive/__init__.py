"""Tests of PersonaLive."""
