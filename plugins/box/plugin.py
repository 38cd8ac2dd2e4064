"""Where the host starts the plugin."""

import logging

from aperio_plugin import connector

from box_connector.connector import BoxConnector

if __name__ == "__main__":
    logging.getLogger("urllib3").setLevel(logging.WARNING)  # else it logs each request
    connector.serve(BoxConnector())
