"""A run from its directory's first file to its last: the loop, what it keeps on disk, how it ends, how it goes on.

What is computed is for :mod:`dlrun.program`; which runs there are is for the floors above. Start with
:mod:`~dlrun.train.run`, then :mod:`~dlrun.train.loop`.
"""
