"""From words to a checked plan: options, composition by Hydra, types and ranges, names as components.

A configuration holds values, never objects; what does not depend on data or devices is checked here, all of it at once.
Start with :mod:`~dlrun.config.plan`; :mod:`~dlrun.config.schema` says why a signature is a schema.
"""
