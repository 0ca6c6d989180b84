"""Data sources, one file each: a function that gives a :class:`~dlrun.data.dataset.Dataset`.

Keyword-only parameters of a source are the keys of ``conf/data/<name>.yaml``; how bytes become arrays is for
:mod:`dlrun.data.readers`. Start with :mod:`~dlrun.data.sources.digits`.
"""
