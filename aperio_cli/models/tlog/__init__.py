"""Transparency logs as C2SP publishes them: trees, tiles, checkpoints and proofs, without effects.

A log is a list of entries that only grows. Its checkpoint is one hash over all of them, so that two
people who hold the same checkpoint hold the same list, and whoever holds an older one can be shown
that nothing of it was changed. Who vouches for a checkpoint is not settled here.

    merkle      trees of hashes and their proofs (RFC 6962, RFC 9162)
    tiles       a tree and its entries as static files (c2sp.org/tlog-tiles)
    note        signed notes, checkpoints, keys and cosignatures of witnesses (c2sp.org/signed-note,
                c2sp.org/tlog-checkpoint, c2sp.org/tlog-cosignature)
    proof       one entry's proof in one file (c2sp.org/tlog-proof)
"""
