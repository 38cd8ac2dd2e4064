"""The documents of a registry (docs/reference/registry-index.md), each a frozen type.

    registry.json                     `root`: signed; digests and sizes of all the others
    shards/XX.json                    `shard`: where plugins are; XX is `documents.shard_number`
    plugins/<namespace>/<name>.json   `plugin_file`: one plugin, all versions and platforms
    catalogue.json                    `catalogue`: one row for each plugin, for search
    publishers.json                   `publishers`: who the registry says publishes; never a policy
    advisories.json                   `advisories`: known faults, in the format of OSV

`plugins.json` version 1, which every reader knows, is `models.registry_index`.
"""
