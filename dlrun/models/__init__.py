"""Model families, one file each: plain ``nnx.Module`` classes, built from the modules of :mod:`dlrun.nn` alone.

dlrun calls a model with four positional arguments: :class:`~dlrun.nn.parts.Inputs`, the number of outputs,
:class:`~dlrun.nn.parts.Parts` and ``nnx.Rngs``. Keyword-only parameters are the keys of ``conf/model/<name>.yaml``.
Start with :mod:`~dlrun.models.mlp`.
"""
