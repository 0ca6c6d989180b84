"""Data: one file a source, each a function that gives a :class:`~dlrun.data.dataset.Dataset`; splits and batches apart.

Keyword-only parameters of a source are the keys of ``conf/data/<name>.yaml``.
"""
