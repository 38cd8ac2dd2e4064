"""egress: an address that a plugin brings along is at a host that its manifest declares."""

from typing import Any

import sound  # type: ignore[import-not-found] # beside this file

fields = sound.fields


def more() -> list[Any]:
    made: list[Any] = fields()
    for key, default in (("base_url", "https://api.box.com"), ("upload_url", "https://up.box.com")):
        made.append(type(made[0])(key=key, type="TYPE_URL", default_json=f'"{default}"'))
    return made


sound.fields = more
sound.serve()
