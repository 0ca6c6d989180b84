"""The modules a model is made of: one file a kind, one function or class an option.

Importing them makes sure that JAX and Flax are versions that compute right numbers. No module here knows a
configuration: a model hands them values. Start with :mod:`~dlrun.nn.parts`, which is what a model is given.
"""

from dlrun.system import compiler

compiler.check()
