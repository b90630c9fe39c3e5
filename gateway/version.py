"""The version of the package, of the API and of the clients it serves; hatchling reads it from here."""

__version__ = "0.1.0"

PLUGIN_API = "1.0"  # the contract of gateway.Analyzer; a change that breaks analyzers raises the first number
