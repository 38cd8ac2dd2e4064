"""fields: the host alone may use its client's secret, and it asks to be given it."""

from typing import Any

import sound  # type: ignore[import-not-found] # beside this file

fields, schema = sound.fields, sound.schema


def more() -> list[Any]:
    made: list[Any] = fields()
    for key in ("client_id", "client_secret"):
        made.append(type(made[0])(key=key, type="TYPE_TEXT"))
    return made


def other(request: object, context: object) -> object:
    answer = schema(request, context)
    answer.auth.oauth2.client_id_field = "client_id"
    answer.auth.oauth2.client_secret_field = "client_secret"
    answer.auth.oauth2.grants.append(answer.auth.oauth2.GRANT_CLIENT_CREDENTIALS)
    return answer


sound.fields, sound.schema = more, other
sound.serve()
