"""File formats and downloads: a reader turns the bytes of a file into arrays, or says what is wrong with the file.

Readers know nothing about the options of ``data=`` that use them. Start with :mod:`~dlrun.data.readers.files`, or for
published data sets with :mod:`~dlrun.data.readers.download`.
"""
