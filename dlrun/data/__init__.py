"""Data sets: how one is represented, split, checked, shuffled into batches and fed to the device.

``sources/`` has a file for each option of ``data=``, ``readers/`` one for each file format. Start with
:mod:`~dlrun.data.dataset`; nothing here knows a model.
"""
