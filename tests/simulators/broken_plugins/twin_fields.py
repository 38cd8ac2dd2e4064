"""fields: two settings have one key."""

import sound  # type: ignore[import-not-found] # beside this file

fields = sound.fields
sound.fields = lambda: fields() + fields()
sound.serve()
