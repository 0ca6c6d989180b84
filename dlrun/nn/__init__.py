"""The modules a model is made of: one file a kind, one function or class an option."""
