"""A witness whose native code prints on standard output, as libraries do."""

import os
import sys

from edge_agent.vision import witness

look = witness.look


def chatting(question: witness.Question) -> witness.Answer:
    """Print, then look."""
    os.write(1, b"INFO: a library says hello\n")
    return look(question)


witness.look = chatting
sys.exit(witness.main())
