"""This is where a driver takes the process with it that tries the GPU."""

import os
import sys

sys.stderr.write("the shader compiler has a bad day\n")
sys.stderr.flush()
os.abort()
