"""Supervising: plugins that stay up, each crash contained and explained.

    supervisor = Supervisor(launcher, rules)
    supervisor.want(wanted)
    async with asyncio.TaskGroup() as group:
        group.create_task(supervisor.run())
        async with supervisor.use(key, settings) as plugin:
            await plugin.connector.test_connection(invocation)

`life` and `breaker` decide, purely, what becomes of one instance of a plugin and of all instances
of it together; `pulse` decides whether one hangs, `changeover` when another version takes over.
`living` does what a life says to a process, `supervisor` holds all of them. How a plugin is cleared
and launched is the `Launcher`'s, which the supervisor is given: nothing here reads the store.

Nothing is imported here: who only reads how instances are takes `instances`.
"""
