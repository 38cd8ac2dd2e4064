"""The control API: other programs of this user use the plugins that a host keeps running."""
