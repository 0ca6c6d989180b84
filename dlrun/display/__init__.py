"""What a person sees: the progress of a run, charts in the terminal, figures as files, tables of one page.

Nothing here decides or measures anything, and nothing is stored but pictures. Start with
:mod:`~dlrun.display.progress`.
"""
