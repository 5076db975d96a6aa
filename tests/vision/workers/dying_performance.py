"""A process that is asked to run a model and ends by a signal, or with words, as its first picture says."""

import os
import signal
import sys

import msgspec

question = msgspec.msgpack.decode(sys.stdin.buffer.read())
if question["pictures"][:1] == ["signal"]:
    os.kill(os.getpid(), signal.SIGSEGV)
if question["pictures"][:1] == ["words"]:
    sys.exit("out of everything")
if question["pictures"][:1] == ["nonsense"]:
    sys.stdout.write("hello")
if question["pictures"][:1] == ["slow"]:
    signal.pause()
