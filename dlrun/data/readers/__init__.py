"""Formats of files and how to fetch them: each reader turns bytes into arrays, and says what is wrong with a file.

No reader knows which option asks for it. Start with :mod:`~dlrun.data.readers.files`, for published sets with
:mod:`~dlrun.data.readers.download`.
"""
