"""The modules a model is made of: one file a kind, one function or class an option.

Importing them makes sure that JAX and Flax are versions that compute right numbers.
"""

from dlrun import compiler

compiler.check()
