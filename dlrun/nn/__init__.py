"""The modules that models are made of: a file for each kind, a function or class for each option.

Importing this package checks that JAX and Flax are versions that compute correctly. Nothing here knows a configuration:
a model passes values. Start with :mod:`~dlrun.nn.parts`, which is what a model is given.
"""

from dlrun.system import compiler

compiler.check()
