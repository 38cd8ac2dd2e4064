"""Ends before it prints anything on stdout."""

import sys

sys.exit("cannot find the rules: /etc/rules\x1b[31m")
