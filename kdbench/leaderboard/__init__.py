"""The leaderboard: stored results as a static site, without a server, a model or the network."""

from kdbench.leaderboard.build import Built, build

__all__ = ["Built", "build"]
