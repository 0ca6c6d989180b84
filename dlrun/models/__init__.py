"""Model families, one file each: plain ``nnx.Module`` classes.

Positional parameters are what the runner gives (:class:`~dlrun.nn.parts.Inputs`, the number of outputs,
:class:`~dlrun.nn.parts.Parts`, ``nnx.Rngs``); keyword-only parameters are the keys of ``conf/model/<name>.yaml``.
"""
