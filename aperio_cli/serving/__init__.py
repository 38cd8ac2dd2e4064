"""Serving: the host as a service that stays up, with whatever belongs to that beside plugins.

    host = Host(collaborate, wanted_of, hearing=Hearing(log, say, beat), parts=(control_server,))
    await host.serve()          # until somebody calls `host.drain()`

`host` supervises what `launching` clears and launches through `running/`; which plugins that are
says `wanted`. Nothing is imported here: who only asks the host that runs takes `single` and
`telling`, and is done before all of it were there.
"""
