"""Nothing is imported from the working folder: a file there is data, whatever it is called.

A user's ``random.py`` or ``copy.py`` beside the data must neither break a run nor be executed by it. The program
``dlrun`` does not look there, nor does ``python -P -m dlrun``. ``python -m dlrun`` does, by Python's own rule, until
this module is imported; so do Python processes that libraries start (joblib, Ray, ``multiprocessing``), unless an
environment variable tells them otherwise. The user's own parts are found there once they are trusted: see
:func:`dlrun.config.components.importable`.
"""

import os
import sys

SAFE = "PYTHONSAFEPATH"


def leave_the_working_folder() -> None:
    """Takes the entry off sys.path that ``python -m`` put there. Modules of this package are still found."""
    try:
        here = ("", os.getcwd())
    except OSError:  # it was deleted
        here = ("",)
    if not sys.flags.safe_path and sys.path[0] in here:
        del sys.path[0]


def isolate_children() -> None:
    """Keeps the Python processes that this one or a library starts from importing from the working folder, too."""
    os.environ[SAFE] = "1"
    root = os.path.abspath(__file__)
    for _ in range(3):  # the folder that holds this package
        root = os.path.dirname(root)
    if root not in sys.path:  # the package is a checkout in the working folder, and not installed
        os.environ["PYTHONPATH"] = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), root])
