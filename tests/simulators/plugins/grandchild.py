"""Has a child of its own that holds its stdout and stderr open, and outlives it."""

import subprocess
import sys

import bare

child = subprocess.Popen(["/bin/sleep", "300"])
sys.stderr.write(f"grandchild {child.pid}\n")
sys.stderr.flush()
bare.serve()
