"""What a person sees: the progress of a run, charts in the terminal, figures as files, lines of a page.

Nothing here decides or measures anything; the only files it writes are pictures. Start with
:mod:`~dlrun.display.progress`.
"""
