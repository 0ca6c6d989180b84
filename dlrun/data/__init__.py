"""Data: what a data set is, how it is cut, checked, shuffled into batches and fed to the device.

``sources/`` has a file for each option of ``data=``, ``readers/`` the formats that these are read from. Start with
:mod:`~dlrun.data.dataset`; nothing here knows a model.
"""
