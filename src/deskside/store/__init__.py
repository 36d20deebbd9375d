"""Artifacts: where binaries, images and charts come from, pinned by digest."""
