"""Many runs from one command: which they are, which share a compilation, where they train."""
