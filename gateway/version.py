"""The version of the package, of the API and of the clients it serves; hatchling reads it from here."""

__version__ = "0.1.0"
