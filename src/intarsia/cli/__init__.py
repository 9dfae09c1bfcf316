"""The command line: one file a command. A command parses, calls a room and prints; it has no logic of its own.

Nothing here may import torch, transformers or a room at module level, only inside the command functions: `intarsia
--help` reads every module of this package and has to answer at once.
"""
