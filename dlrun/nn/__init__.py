"""The modules that models are made of: a file for each kind, a function or class for each option.

Importing this package checks that the installed versions of JAX and Flax compute correctly. Nothing here reads a
configuration: a model passes values. Start with :mod:`~dlrun.nn.parts`, which a model is given.
"""

from dlrun.system import compiler

compiler.check()
