"""Stage 7, run: Cleared -> RunningPlugin.

The way in is `aperio_cli.host.launch.launch`; whole operations are in `sync`. `handshake` and
`lifecycle` are pure; everything else runs on one asyncio loop.
"""
