"""File formats, and downloads: a reader turns the bytes of a file into arrays, and says what is wrong with a file.

Readers know nothing of the options of ``data=`` that use them. Start with :mod:`~dlrun.data.readers.files`; published
data sets start with :mod:`~dlrun.data.readers.download`.
"""
