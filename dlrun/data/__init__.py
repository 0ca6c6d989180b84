"""Data sets: how they are represented, split, checked, shuffled into batches and fed to the device.

``sources/`` has a file for each option of ``data=``, and ``readers/`` one for each file format. Nothing here knows a
model. Start with :mod:`~dlrun.data.dataset`.
"""
