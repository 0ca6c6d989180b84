"""Model families, one file each: plain ``nnx.Module`` classes, made of the modules of :mod:`dlrun.nn` alone.

Positional parameters are what the runner gives (:class:`~dlrun.nn.parts.Inputs`, the number of outputs,
:class:`~dlrun.nn.parts.Parts`, ``nnx.Rngs``); keyword-only parameters are the keys of ``conf/model/<name>.yaml``.
Start with :mod:`~dlrun.models.mlp`.
"""
