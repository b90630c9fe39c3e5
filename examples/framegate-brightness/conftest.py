"""Framegate's fixtures for pytest: `pytest --fixtures` lists them."""

pytest_plugins = ["gateway.testing.fixtures"]
