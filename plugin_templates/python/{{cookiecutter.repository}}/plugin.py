"""Serves the connector to the host that started this process."""

from aperio_plugin import connector

from connector import {{ cookiecutter.class_name }}

if __name__ == "__main__":
    connector.serve({{ cookiecutter.class_name }}())
