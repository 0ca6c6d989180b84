"""Data sources, one file each: a function that returns a :class:`~dlrun.data.dataset.Dataset`.

Keyword-only parameters of a source are the keys of ``conf/data/<name>.yaml``. File formats are read by
:mod:`dlrun.data.readers`. Start with :mod:`~dlrun.data.sources.digits`.
"""
